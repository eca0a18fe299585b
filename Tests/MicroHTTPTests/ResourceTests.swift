import Glibc
import MicroHTTP
import Testing

/// What a server leaves behind, looked at in a process that does nothing else.
@Suite struct ResourceTests {
    @Test func `a stopped server leaves no descriptor, thread or exchange behind`() async {
        await #expect(processExitsWith: .success) {
            let before = (entries(of: "/proc/self/fd"), entries(of: "/proc/self/task"))
            for _ in 1...3 { try serveAndStop() }
            let after = (entries(of: "/proc/self/fd"), entries(of: "/proc/self/task"))
            #expect(before.0 == after.0)
            #expect(before.1 == after.1)
        }
    }

    @Test func `requests that libmicrohttpd refuses leak nothing`() throws {
        weak var witness: Witness?
        do {
            let held = Witness()
            witness = held
            try withServer { _ in
                _ = held
                return .respond(.text("ok"))
            } _: { server in
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

private func serveAndStop() throws {
    var configuration = Server.Configuration(
        endpoints: [
            .tcp(host: "127.0.0.1", port: 0),
            .unix(path: "/tmp/microhttp-\(UInt64.random(in: .min ... .max)).sock"),
        ])
    configuration.threads = 3
    let server = try Server(configuration: configuration, handler: TestHandler { exchange in
        exchange.path == "/later" ? .later : .respond(.text("ok"))
    })
    try server.start()
    let client = try Client(port: server.boundPort)
    _ = try client.get("/")
    try client.request("GET", "/later")
    server.stop(within: .zero)
}
