import Glibc
import MicroHTTP
import Synchronization
import Testing

@Suite struct `A batch` {
    @Test
    func `is shared by requests that came in while another was handled, and not with that one`()
        throws
    {
        try withHeldServer { server, gate in
            let clients = try (0..<3).map { _ in try quietClient(of: server) }
            try gate.holding(clients[0]) {
                try clients[1].request("GET", "/")
                try clients[2].request("GET", "/")
            }
            let batches = try clients.map { try $0.reply().text }
            #expect(batches[1] == batches[2])
            #expect(batches[0] != batches[1])
            #expect(!batches.contains("none"))
        }
    }

    @Test func `is another one for each request on a connection`() throws {
        try withHeldServer { server, _ in
            let clients = try (0..<2).map { _ in try quietClient(of: server) }
            let batches = try (0..<50).map { try clients[$0 % 2].get("/").text }
            #expect(Set(batches).count == 50)
            #expect(!batches.contains("none"))
        }
    }

    @Test func `has no request that is the first on its connection`() throws {
        try withHeldServer { server, gate in
            let early = try Client(port: server.boundPort)
            let holder = try quietClient(of: server)
            var late: Client?
            try gate.holding(holder) {
                late = try Client(port: server.boundPort)
                for client in [early, late!] { try client.request("GET", "/") }
            }
            #expect(try holder.reply().text != "none")
            for client in [early, late!] { #expect(try client.reply().text == "none") }
        }
    }

    @Test func `has no request that follows a body, or one that waited`() throws {
        try withHeldServer { server, gate in
            let client = try quietClient(of: server)
            try client.request("PUT", "/", "Content-Length: 3\r\n", then: [1, 2, 3])
            #expect(try client.reply().text != "none")
            #expect(try client.get("/").text == "none")
            #expect(try client.get("/").text != "none")
            try client.request("GET", "/later")
            #expect(try gate.waiting.wait()[0].respond(.text("later")))
            #expect(try client.reply().text == "later")
            #expect(try client.get("/").text == "none")
            #expect(try client.get("/").text != "none")
        }
    }

    @Test func `has no two requests of one connection`() throws {
        try withHeldServer { server, _ in
            let client = try quietClient(of: server)
            for _ in 1...20 {
                try client.send(
                    String(repeating: "GET / HTTP/1.1\r\nHost: test\r\n\r\n", count: 5))
                let batches = try (0..<5).map { _ in try client.reply().text }
                let known = batches.filter { $0 != "none" }
                #expect(Set(known).count == known.count)
            }
        }
    }

    @Test func `is of one thread only`() throws {
        try withHeldServer { one, _ in
            try withHeldServer { two, _ in
                let clients = [try quietClient(of: one), try quietClient(of: two)]
                let batches = try (0..<20).map { try clients[$0 % 2].get("/").text }
                #expect(Set(batches).count == 20)
            }
        }
    }

    // MARK: Helpers

    /// Keeps the only thread of a server inside its handler.
    private final class Gate: Sendable {
        let entered = Signal<Bool>()
        let waiting = Signal<Exchange>()
        private let isOpen = Atomic<Bool>(false)

        func pass() {
            entered.report(true)
            for _ in 0..<20_000 where !isOpen.load(ordering: .acquiring) { usleep(1000) }
        }

        /// Runs `body` while the server handles a request of the client.
        func holding(_ client: Client, _ body: () throws -> Void) throws {
            defer { isOpen.store(true, ordering: .releasing) }
            try client.request("GET", "/hold")
            _ = try entered.wait()
            try body()
        }
    }

    /// Lends a server that answers with the batch of each request.
    private func withHeldServer(_ body: (Server, Gate) throws -> Void) throws {
        let gate = Gate()
        try withServer { exchange in
            switch exchange.path {
            case "/hold": gate.pass()
            case "/later":
                gate.waiting.report(exchange)
                return .later
            default: break
            }
            return .respond(.text(exchange.batch.map { "\($0.number)" } ?? "none"))
        } _: { server in
            try body(server, gate)
        }
    }

    /// A client whose next request is not the first on its connection.
    private func quietClient(of server: Server) throws -> Client {
        let client = try Client(port: server.boundPort)
        #expect(try client.get("/").text == "none")
        return client
    }
}
