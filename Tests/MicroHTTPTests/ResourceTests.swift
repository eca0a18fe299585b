import Glibc
import MicroHTTP
import Testing

/// What a server leaves behind, looked at in a process that does nothing else.
@Suite struct ResourceTests {
    @Test func `a stopped server leaves no descriptor, thread or exchange behind`() async {
        await #expect(processExitsWith: .success) {
            let before = entries(of: "/proc/self/fd")
            for _ in 1...20 { try serveAndStop() }
            // The runtime opens a few of its own when it likes; a leak would be 20 at least.
            #expect(entries(of: "/proc/self/fd") - before < 10)
            // The kernel shows a thread for a moment after it was joined.
            for _ in 1...20_000 where threads(named: "microhttp") > 0 { usleep(1000) }
            #expect(threads(named: "microhttp") == 0)
        }
    }

    @Test func `requests that libmicrohttpd refuses or that break off leak nothing`() throws {
        weak var witness: Witness?
        do {
            let held = Witness()
            witness = held
            // Still being answered when the server stops.
            var unread: Client?
            defer { unread?.hangUp() }
            // Every exchange keeps its loop, and so the closure below.
            try withServer {
                $0.log = { _ in _ = held }
            } handler: { exchange in
                .respond(.text(String(repeating: "x", count: exchange.path == "/" ? 2 : 8 << 20)))
            } _: { server in
                let client = try Client(port: server.boundPort, receiveBuffer: 4096)
                try client.request("GET", "/long")
                client.finishSending()
                _ = try client.head()
                unread = client
                for text in [
                    "GET /\(String(repeating: "x", count: 70_000)) HTTP/1.1\r\n",
                    "GET / HTTP/1.1\r\nX: \(String(repeating: "x", count: 70_000))\r\n\r\n",
                    "GET / HTTP/1.1\r\nno colon here\r\n\r\n",
                    "GET / HTTP/1.1\r\n\r\n",
                    "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
                    "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
                    "GET / HTTP/1.1\r\nHost: a\r\n",
                ] {
                    let client = try Client(port: server.boundPort)
                    try? client.send(text)
                    if !text.hasSuffix("Host: a\r\n") { #expect(try client.head().status >= 400) }
                }
                for text in (HalfCloseTests.incomplete + HalfCloseTests.withoutEnd).map(\.text) {
                    let client = try Client(port: server.boundPort)
                    try client.send(
                        text.contains("Encoding") || text.contains("Length")
                            ? "PUT / HTTP/1.1\r\nHost: a\r\n\(text)" : text)
                    client.finishSending()
                    #expect(try client.isClosedByServer())
                }
            }
        }
        #expect(witness == nil)
    }
}

private final class Witness: Sendable {}

private func entries(of folder: String) -> Int {
    guard let stream = unsafe opendir(folder) else { return -1 }
    defer { unsafe closedir(stream) }
    var count = 0
    while unsafe readdir(stream) != nil { count += 1 }
    return count
}

private func threads(named name: String) -> Int {
    guard let stream = unsafe opendir("/proc/self/task") else { return -1 }
    defer { unsafe closedir(stream) }
    var count = 0
    while let entry = unsafe readdir(stream) {
        let thread = unsafe withUnsafePointer(to: entry.pointee.d_name) {
            unsafe String(cString: UnsafeRawPointer($0).assumingMemoryBound(to: CChar.self))
        }
        guard let file = unsafe fopen("/proc/self/task/\(thread)/comm", "r") else { continue }
        var line = [UInt8](repeating: 0, count: 64)
        let length = unsafe fread(&line, 1, line.count, file)
        unsafe fclose(file)
        if line.prefix(length).elementsEqual("\(name)\n".utf8) { count += 1 }
    }
    return count
}

private func serveAndStop() throws {
    var configuration = Server.Configuration(
        endpoints: [
            .tcp(host: "127.0.0.1", port: 0),
            .unix(path: "/tmp/microhttp-\(UInt64.random(in: .min ... .max)).sock"),
        ])
    configuration.threads = 3
    let server = try Server(
        configuration: configuration,
        handler: TestHandler { exchange in
            exchange.path == "/later" ? .later : .respond(.text("ok"))
        })
    try server.start()
    let client = try Client(port: server.boundPort)
    _ = try client.get("/")
    try client.request("GET", "/later")
    server.stop(within: .zero)
}
