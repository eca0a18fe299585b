import Glibc
import MicroHTTP
import Testing

@Suite struct ServerTests {
    @Test(arguments: [1, 2])
    func `a stop with waiters and open streams is in time and tells everyone`(threads: Int) throws {
        let streams = Signal<EventStream>()
        let hungUp = Signal<Bool>()
        let closed = Signal<Bool>()
        let handler = TestHandler { exchange in
            guard exchange.path == "/stream" else {
                exchange.onHangUp { hungUp.report(true) }
                return .later
            }
            let stream = EventStream()
            stream.onClose { closed.report(true) }
            streams.report(stream)
            return .respond(Response(status: 200, content: .stream(stream)))
        }
        var configuration = Server.Configuration(endpoints: [.tcp(host: "127.0.0.1", port: 0)])
        configuration.threads = threads
        let server = try Server(configuration: configuration, handler: handler)
        try server.start()
        let clients = try (0..<40).map { _ in try Client(port: server.boundPort) }
        for (index, client) in clients.enumerated() {
            try client.request("GET", index % 2 == 0 ? "/stream" : "/wait")
            if index % 2 == 0 { _ = try client.head() }
        }
        let idle = try Client(port: server.boundPort)
        _ = try streams.wait(count: 20)
        let start = ContinuousClock.now
        server.stop(within: .milliseconds(100))
        #expect(ContinuousClock.now - start < .seconds(5))
        #expect(hungUp.all.count == 20)
        #expect(closed.all.count == 20)
        #expect(handler.ended.all.count == 40)
        #expect(handler.ended.all.allSatisfy { $0.record.outcome == .shutdown })
        for client in clients { _ = try client.rest() }
        #expect(try idle.isClosedByServer())
    }

    @Test func `a stop waits for an answer that is owed`() throws {
        let waiting = Signal<Exchange>()
        let handler = TestHandler { exchange in
            waiting.report(exchange)
            return .later
        }
        let server = try Server(
            configuration: .init(endpoints: [.tcp(host: "127.0.0.1", port: 0)]), handler: handler)
        try server.start()
        let client = try Client(port: server.boundPort)
        try client.request("GET", "/")
        let exchange = try waiting.wait()[0]
        let stopped = Signal<Bool>()
        let start = ContinuousClock.now
        let answering = Signal<Bool>()
        runThreads(2) {
            if answering.claim() {
                server.stop(within: .seconds(20))
                stopped.report(true)
            } else {
                // The port is closed once the stop has begun.
                while (try? Client(port: server.boundPort)) != nil { usleep(1000) }
                exchange.respond(.text("at last"))
            }
        }
        #expect(stopped.all == [true])
        #expect(ContinuousClock.now - start < .seconds(10))
        let reply = try client.reply()
        #expect(reply.text == "at last")
        #expect(reply.headers["connection"] == "close")
    }

    @Test func `a stop while requests come in does not crash`() throws {
        for _ in 1...10 {
            let handler = TestHandler { exchange in
                exchange.path == "/later" ? .later : .respond(.text("ok"))
            }
            var configuration = Server.Configuration(
                endpoints: [.tcp(host: "127.0.0.1", port: 0)])
            configuration.threads = 2
            let server = try Server(configuration: configuration, handler: handler)
            try server.start()
            let turn = Signal<Bool>()
            runThreads(4) {
                if turn.claim() {
                    usleep(5000)
                    server.stop(within: .milliseconds(1))
                    return
                }
                while let client = try? Client(port: server.boundPort) {
                    _ = try? client.get("/")
                    try? client.request("GET", "/later")
                }
            }
        }
    }

    @Test func `a server that was never started lets go of its port`() throws {
        let handler = TestHandler { _ in .later }
        let server = try Server(
            configuration: .init(endpoints: [.tcp(host: "127.0.0.1", port: 0)]), handler: handler)
        server.stop(within: .zero)
        let endpoint = Endpoint.tcp(host: "127.0.0.1", port: server.boundPort)
        _ = try Server(configuration: .init(endpoints: [endpoint]), handler: handler)
    }

    @Test(arguments: [1, 2], [1, 3])
    func `a port that is in use is refused`(first: Int, second: Int) throws {
        try withServer {
            $0.threads = first
        } handler: { _ in
            .respond(.text("mine"))
        } _: { server in
            var configuration = Server.Configuration(
                endpoints: [.tcp(host: "127.0.0.1", port: server.boundPort)])
            configuration.threads = second
            let error = #expect(throws: ServerError.self) {
                _ = try Server(configuration: configuration, handler: TestHandler { _ in .later })
            }
            #expect(error?.code == .addressInUse)
            #expect(fetch(port: server.boundPort)?.text == "mine")
        }
    }

    @Test(arguments: [
        (Endpoint.tcp(host: "nonsense", port: 1), ServerError.Code.invalidAddress),
        (.tcp(host: "192.0.2.1", port: 0), .addressUnavailable),
        (.unix(path: "/nowhere/at/all"), .invalidAddress),
        (.unix(path: String(repeating: "x", count: 200)), .invalidAddress),
        (.inherited(descriptor: 0), .invalidAddress),
    ])
    func `an endpoint that cannot be is named in the error`(
        endpoint: Endpoint, code: ServerError.Code
    ) throws {
        let error = #expect(throws: ServerError.self) {
            _ = try Server(
                configuration: .init(endpoints: [endpoint]), handler: TestHandler { _ in .later })
        }
        #expect(error?.code == code)
        #expect(error?.description.hasSuffix(".") == true)
    }

    @Test func `several endpoints are served at once`() throws {
        let path = "/tmp/microhttp-\(UInt64.random(in: .min ... .max)).sock"
        try withServer {
            $0.endpoints.append(.unix(path: path))
            $0.threads = 2
        } handler: {
            .respond(.text($0.peer == "unix" ? "unix" : "tcp"))
        } _: { server in
            for _ in 1...5 {
                #expect(fetch(port: server.boundPort)?.text == "tcp")
                #expect(fetch(path: path)?.text == "unix")
            }
        }
    }

    @Test func `256 connections at once are served without a stall`() throws {
        try withServer { _ in
            .respond(.text("ok"))
        } _: { server in
            let clients = try (0..<256).map { _ in try Client(port: server.boundPort) }
            let start = ContinuousClock.now
            for _ in 1...10 {
                for client in clients { try client.request("GET", "/") }
                for client in clients { #expect(try client.reply().status == 200) }
            }
            #expect(ContinuousClock.now - start < .seconds(10))
        }
    }

    @Test(arguments: [
        ("127.0.0.1:7070", "127.0.0.1:7070"), ("[::1]:7070", "[::1]:7070"),
        ("localhost:0", "localhost:0"), ("unix:/run/x.sock", "unix:/run/x.sock"),
    ])
    func `an endpoint is read from its text`(text: String, description: String) throws {
        #expect(Endpoint(text)?.description == description)
    }

    @Test(arguments: ["", "7070", ":7070", "::1:7070", "localhost:", "a:70000", "unix:"])
    func `what is no endpoint is not read as one`(text: String) {
        #expect(Endpoint(text) == nil)
    }
}
