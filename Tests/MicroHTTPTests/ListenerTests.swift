import Glibc
import MicroHTTP
import Testing

@Suite struct ListenerTests {
    @Test func `a Unix socket is served, private, and removed`() throws {
        let path = "/tmp/microhttp-\(UInt64.random(in: .min ... .max)).sock"
        let handler = TestHandler { .respond(.text($0.peer)) }
        let configuration = Server.Configuration(endpoints: [.unix(path: path, mode: 0o600)])
        let server = try Server(configuration: configuration, handler: handler)
        try server.start()
        var status = stat()
        #expect(unsafe lstat(path, &status) == 0)
        #expect(status.st_mode & 0o777 == 0o600)
        let client = try Client(path: path)
        #expect(try client.get("/").text == "unix")
        let error = #expect(throws: ServerError.self) {
            _ = try Server(configuration: configuration, handler: handler)
        }
        #expect(error?.code == .addressInUse)
        #expect(try client.get("/").text == "unix")
        server.stop(within: .zero)
        #expect(unsafe lstat(path, &status) != 0)
    }

    @Test func `a Unix socket that nobody listens on is replaced, another file is not`() throws {
        let path = "/tmp/microhttp-\(UInt64.random(in: .min ... .max)).sock"
        defer { _ = unsafe unlink(path) }
        let handler = TestHandler { _ in .respond(.text("new")) }
        close(try staleSocket(at: path))
        try withServer(handler) {
            $0.endpoints = [.unix(path: path)]
        } _: { _ in
            #expect(fetch(path: path)?.text == "new")
        }
        close(unsafe open(path, O_CREAT | O_WRONLY, 0o600))
        let error = #expect(throws: ServerError.self) {
            _ = try Server(
                configuration: .init(endpoints: [.unix(path: path)]), handler: handler)
        }
        #expect(error?.code == .addressInUse)
        #expect(unsafe access(path, F_OK) == 0)
    }

    @Test func `of servers that want one stale socket at once, one gets it and is served`() throws {
        let path = "/tmp/microhttp-\(UInt64.random(in: .min ... .max)).sock"
        let handler = TestHandler { _ in .respond(.text("mine")) }
        for _ in 1...20 {
            close(try staleSocket(at: path))
            let servers = Signal<Server>()
            let refused = Signal<ServerError>()
            runThreads(4) {
                do throws(ServerError) {
                    let server = try Server(
                        configuration: .init(endpoints: [.unix(path: path)]), handler: handler)
                    try server.start()
                    servers.report(server)
                } catch { refused.report(error) }
            }
            #expect(servers.all.count == 1)
            #expect(refused.all.allSatisfy { $0.code == .addressInUse })
            #expect(fetch(path: path)?.text == "mine")
            for server in servers.all { server.stop(within: .zero) }
            #expect(unsafe access(path, F_OK) != 0)
        }
    }

    @Test func `a request over a Unix socket needs no host`() throws {
        let path = "/tmp/microhttp-\(UInt64.random(in: .min ... .max)).sock"
        try withServer {
            $0.endpoints = [.unix(path: path)]
        } handler: {
            .respond(.text($0.isOverUnixSocket ? "unix" : "other"))
        } _: { _ in
            let client = try Client(path: path)
            try client.send("GET / HTTP/1.1\r\n\r\n")
            #expect(try client.reply().text == "unix")
        }
    }

    @Test func `an inherited socket is served and not shut down`() throws {
        let descriptor = try listeningSocket()
        let kept = dup(descriptor)
        defer { close(kept) }
        try withServer {
            $0.endpoints = [.inherited(descriptor: descriptor)]
            $0.threads = 3
        } handler: { _ in
            .respond(.text("ok"))
        } _: { server in
            #expect(server.boundPort != 0)
            #expect(server.addresses == [.tcp(host: "127.0.0.1", port: server.boundPort)])
            for _ in 1...10 { #expect(fetch(port: server.boundPort)?.text == "ok") }
        }
        // Whoever holds it can go on.
        try withServer {
            $0.endpoints = [.inherited(descriptor: dup(kept))]
        } handler: { _ in
            .respond(.text("again"))
        } _: { server in
            #expect(fetch(port: server.boundPort)?.text == "again")
        }
    }

    @Test func `what is no listening stream socket is not inherited`() throws {
        let datagram = socket(AF_INET, CInt(SOCK_DGRAM.rawValue), 0)
        let silent = socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0)
        let file = unsafe open("/dev/null", O_RDONLY)
        for descriptor in [datagram, silent, file, 9999] {
            let error = #expect(throws: ServerError.self) {
                _ = try Server(
                    configuration: .init(endpoints: [.inherited(descriptor: descriptor)]),
                    handler: TestHandler { _ in .later })
            }
            #expect(error?.code == .invalidAddress)
            close(descriptor)
        }
    }

    @Test(arguments: [
        (Endpoint.tcp(host: "127.0.0.1", port: 1), true), (.tcp(host: "127.9.9.9", port: 1), true),
        (.tcp(host: "::1", port: 1), true), (.tcp(host: "::ffff:127.0.0.1", port: 1), true),
        (.tcp(host: "localhost", port: 1), true), (.unix(path: "/x"), true),
        (.tcp(host: "0.0.0.0", port: 1), false), (.tcp(host: "::", port: 1), false),
        (.tcp(host: "192.0.2.1", port: 1), false), (.tcp(host: "::ffff:192.0.2.1", port: 1), false),
    ])
    func `an endpoint knows whether other hosts can reach it`(endpoint: Endpoint, isLocal: Bool) {
        #expect(endpoint.isLocal == isLocal)
    }

    // MARK: Limits

    @Test func `one connection too many is answered 503 and closed, and makes room`() throws {
        let traffic = Traffic()
        try withServer {
            $0.traffic = traffic
            $0.connectionLimit = 4
            $0.threads = 2
        } handler: { _ in
            .respond(.text("ok"))
        } _: { server in
            let clients = try (0..<4).map { _ in try Client(port: server.boundPort) }
            for client in clients { #expect(try client.get("/").text == "ok") }
            let surplus = try Client(port: server.boundPort)
            #expect(try surplus.get("/").status == 503)
            #expect(try surplus.isClosedByServer())
            for client in clients { #expect(try client.get("/").text == "ok") }
            #expect(traffic.openCount == 4)
            #expect(traffic.refusedCount == 1)
            clients[0].hangUp()
            while traffic.openCount == 4 { usleep(1000) }
            #expect(fetch(port: server.boundPort)?.text == "ok")
        }
    }

    @Test func `a client with too many connections is told so, and others are served`() throws {
        let path = "/tmp/microhttp-\(UInt64.random(in: .min ... .max)).sock"
        try withServer {
            $0.endpoints.append(.unix(path: path))
            $0.connectionLimitPerClient = 2
        } handler: { _ in
            .respond(.text("ok"))
        } _: { server in
            let clients = try (0..<2).map { _ in try Client(port: server.boundPort) }
            for client in clients { #expect(try client.get("/").text == "ok") }
            #expect(fetch(port: server.boundPort)?.status == 429)
            #expect(fetch(path: path)?.text == "ok")
        }
    }

    @Test func `a crowd that is refused and says nothing keeps nobody out`() throws {
        let traffic = Traffic()
        try withServer {
            $0.traffic = traffic
            $0.connectionLimit = 2
        } handler: { _ in
            .respond(.text("ok"))
        } _: { server in
            let client = try Client(port: server.boundPort)
            #expect(try client.get("/").text == "ok")
            let crowd = try (0..<200).map { _ in try Client(port: server.boundPort) }
            #expect(try client.get("/").text == "ok")
            // The first came in; those who were to be told and those who were not are closed.
            for silent in crowd.dropFirst() { #expect(try silent.isClosedByServer()) }
            for _ in 1...20_000 where traffic.openCount > 2 { usleep(1000) }
            #expect(traffic.openCount == 2)
        }
    }
}

/// Opens a socket that listens on a port of 127.0.0.1.
private func listeningSocket() throws -> CInt {
    let descriptor = socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    let result = unsafe withUnsafePointer(to: &address) { pointer in
        unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            unsafe bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
        }
    }
    guard result == 0, listen(descriptor, 16) == 0 else {
        throw Client.Failure(what: "listen: \(errno)")
    }
    return descriptor
}

/// Binds a Unix socket that nobody listens on.
private func staleSocket(at path: String) throws -> CInt {
    let descriptor = socket(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: path.utf8) }
    let result = unsafe withUnsafePointer(to: &address) { pointer in
        unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            unsafe bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
        }
    }
    guard result == 0 else { throw Client.Failure(what: "bind: \(errno)") }
    return descriptor
}
