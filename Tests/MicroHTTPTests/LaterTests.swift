import Glibc
import MicroHTTP
import Synchronization
import Testing

@Suite struct LaterTests {
    @Test func `an answer comes from another thread`() throws {
        let waiting = Signal<Exchange>()
        try withServer { exchange in
            waiting.report(exchange)
            return .later
        } _: { server in
            let client = try Client(port: server.boundPort)
            for turn in 1...3 {
                try client.request("GET", "/\(turn)")
                let exchange = try waiting.wait(count: turn)[turn - 1]
                #expect(exchange.isConnected)
                #expect(exchange.respond(.text("turn \(turn)")))
                #expect(!exchange.respond(.text("again")))
                #expect(try client.reply().text == "turn \(turn)")
            }
        }
    }

    @Test func `an answer may be there before the handler returns`() throws {
        try withServer { exchange in
            exchange.respond(.text("early"))
            return .later
        } _: { server in
            let client = try Client(port: server.boundPort)
            #expect(try client.get("/").text == "early")
            #expect(try client.get("/").text == "early")
        }
    }

    @Test func `an answer may be given while the body is still coming`() throws {
        let waiting = Signal<Exchange>()
        try withServer { exchange in
            waiting.report(exchange)
            return .later
        } _: { server in
            let client = try Client(port: server.boundPort)
            try client.request("PUT", "/", "Content-Length: 4\r\n", then: [1, 2])
            #expect(try waiting.wait()[0].respond(.text("done")))
            try client.send([3, 4])
            #expect(try client.reply().text == "done")
        }
    }

    @Test func `a client that leaves while it waits is noticed at once`() throws {
        let waiting = Signal<Exchange>()
        let left = Signal<Bool>()
        let delivered = Signal<Bool>()
        let handler = TestHandler { exchange in
            exchange.onHangUp { left.report(true) }
            waiting.report(exchange)
            return .later
        }
        try withServer(handler) { server in
            let client = try Client(port: server.boundPort)
            try client.request("GET", "/wait")
            let exchange = try waiting.wait()[0]
            let start = ContinuousClock.now
            client.hangUp()
            _ = try left.wait()
            #expect(ContinuousClock.now - start < .seconds(1))
            #expect(!exchange.isConnected)
            let record = try handler.ended.wait()[0].record
            #expect(record.outcome == .clientGone)
            #expect(record.status == nil)
            var answer = Response.text("too late")
            answer.onDelivered = { delivered.report($0) }
            #expect(!exchange.respond(answer))
            #expect(delivered.all == [false])
            #expect(left.all.count == 1)
        }
    }

    @Test func `an answer is told whether it left`() throws {
        let delivered = Signal<Bool>()
        try withServer { _ in
            var answer = Response.text("hello")
            answer.onDelivered = { delivered.report($0) }
            return .respond(answer)
        } _: { server in
            _ = fetch(port: server.boundPort)
            let told = try delivered.wait()
            #expect(told == [true])
        }
    }

    @Test func `an answer to a client that left is told so`() throws {
        let delivered = Signal<Bool>()
        let waiting = Signal<Exchange>()
        try withServer { exchange in
            waiting.report(exchange)
            return .later
        } _: { server in
            for turn in 1...50 {
                let client = try Client(port: server.boundPort)
                try client.request("GET", "/")
                let exchange = try waiting.wait(count: turn)[turn - 1]
                client.hangUp()
                // The news may take a moment to get through a busy kernel.
                for _ in 1...20_000 where exchange.isConnected { usleep(1000) }
                var answer = Response.text("hello")
                answer.onDelivered = { delivered.report($0) }
                exchange.respond(answer)
            }
            let told = try delivered.wait(count: 50)
            #expect(told == .init(repeating: false, count: 50))
        }
    }

    @Test func `many waiters are answered by many threads`() throws {
        let waiting = Signal<Exchange>()
        try withServer {
            $0.threads = 2
        } handler: { exchange in
            waiting.report(exchange)
            return .later
        } _: { server in
            let clients = try (0..<100).map { _ in try Client(port: server.boundPort) }
            for client in clients { try client.request("GET", "/") }
            let exchanges = try waiting.wait(count: 100)
            let next = Atomic<Int>(0)
            runThreads(4) {
                while true {
                    let index = next.add(1, ordering: .relaxed).oldValue
                    guard index < exchanges.count else { return }
                    exchanges[index].respond(.text("done"))
                }
            }
            for client in clients { #expect(try client.reply().text == "done") }
        }
    }
}
