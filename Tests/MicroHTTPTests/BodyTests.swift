import MicroHTTP
import Synchronization
import Testing

@Suite struct BodyTests {
    let echo: @Sendable (Exchange) -> Plan = { _ in
        .collect(limit: 4 << 20, overflow: .text("too large", status: 413)) { body in
            .respond(
                Response(status: 200, content: body.buffer.map { .buffer($0) } ?? .empty))
        }
    }

    @Test(arguments: [0, 1, 5, 100_000, 3_000_000])
    func `a body of known length is collected whole`(byteCount: Int) throws {
        try withServer(handler: echo) { server in
            let client = try Client(port: server.boundPort)
            let body = (0..<byteCount).map { UInt8(truncatingIfNeeded: $0 &* 31) }
            for _ in 1...2 {
                try client.request("PUT", "/", "Content-Length: \(byteCount)\r\n", then: body)
                #expect(try client.reply().body == body)
            }
        }
    }

    @Test(arguments: ["Content-Length: ", "Transfer-Encoding: chunked"])
    func `a body in memory that a larger one has used has nothing of that`(field: String) throws {
        try withServer(handler: echo) { server in
            let client = try Client(port: server.boundPort)
            for byteCount in [3_000_000, 1_000_001, 2_000_003, 200_000, 1_500_000] {
                let body = (0..<byteCount).map { UInt8(truncatingIfNeeded: $0 &* byteCount) }
                if field.hasSuffix("chunked") {
                    try client.request("PUT", "/", "\(field)\r\n")
                    for start in stride(from: 0, to: byteCount, by: 100_000) {
                        let piece = body[start..<min(start + 100_000, byteCount)]
                        try client.send("\(String(piece.count, radix: 16))\r\n")
                        try client.send(Array(piece))
                        try client.send("\r\n")
                    }
                    try client.send("0\r\n\r\n")
                } else {
                    try client.request("PUT", "/", "\(field)\(byteCount)\r\n", then: body)
                }
                #expect(try client.reply().body == body)
            }
        }
    }

    @Test func `a body in chunks is collected whole`() throws {
        try withServer(handler: echo) { server in
            let client = try Client(port: server.boundPort)
            let piece = [UInt8](repeating: 7, count: 10_000)
            for _ in 1...2 {
                try client.request("PUT", "/", "Transfer-Encoding: chunked\r\n")
                for _ in 1...50 {
                    try client.send("2710\r\n")
                    try client.send(piece)
                    try client.send("\r\n")
                }
                try client.send("0\r\n\r\n")
                #expect(try client.reply().body == [UInt8](repeating: 7, count: 500_000))
            }
        }
    }

    @Test(arguments: [true, false])
    func `bodies together take no more room than there is, and give it back`(isChunked: Bool) throws
    {
        let held = Mutex<(exchange: Exchange, body: Body)?>(nil)
        let arrived = Signal<Bool>()
        try withServer {
            $0.bodyMemoryLimit = 300_000
        } handler: { exchange in
            .collect(limit: 4 << 20, overflow: .text("too large", status: 413)) { body in
                guard exchange.path == "/held" else { return .respond(.text("taken")) }
                held.withLock { $0 = (exchange, body) }
                arrived.report(true)
                return .later
            }
        } _: { server in
            func put(_ byteCount: Int) throws -> Int {
                let client = try Client(port: server.boundPort)
                let body = [UInt8](repeating: 1, count: byteCount)
                if isChunked {
                    try client.request("PUT", "/", "Transfer-Encoding: chunked\r\n")
                    try client.send(String(byteCount, radix: 16) + "\r\n")
                    try client.send(body)
                    try client.send("\r\n0\r\n\r\n")
                } else {
                    try client.request("PUT", "/", "Content-Length: \(byteCount)\r\n", then: body)
                }
                return try client.reply().status
            }
            let waiting = try Client(port: server.boundPort)
            try waiting.request(
                "PUT", "/held", "Content-Length: 200000\r\n",
                then: [UInt8](repeating: 2, count: 200_000))
            _ = try arrived.wait()
            #expect(try put(150_000) == 503)
            #expect(try put(90_000) == 200)
            #expect(try put(64 * 1024) == 200)
            #expect(try put(150_000) == 503)
            let (exchange, body) = try #require(held.withLock { $0.take() })
            #expect(body.byteCount == 200_000)
            exchange.respond(.text("held"))
            #expect(try waiting.reply().text == "held")
            _ = consume body
            #expect(try put(300_000) == 200)
            #expect(try put(300_001) == 503)
        }
    }

    @Test func `a small body that is too large is drained and the connection kept`() throws {
        try withServer { exchange in
            exchange.method == .get
                ? .respond(.text("still here"))
                : .collect(limit: 10, overflow: .text("no", status: 413)) { _ in .later }
        } _: { server in
            let client = try Client(port: server.boundPort)
            try client.request(
                "PUT", "/", "Content-Length: 1000\r\n", then: .init(repeating: 1, count: 1000))
            #expect(try client.reply().status == 413)
            try client.request("PUT", "/", "Transfer-Encoding: chunked\r\n")
            try client.send("14\r\n01234567890123456789\r\n0\r\n\r\n")
            #expect(try client.reply().status == 413)
            #expect(try client.get("/").text == "still here")
        }
    }

    @Test(arguments: [true, false])
    func `a large body is refused at once`(isChunked: Bool) throws {
        let handler = TestHandler { _ in
            .collect(limit: 1000, overflow: .text("too large", status: 413)) { _ in .later }
        }
        try withServer(handler) {
            $0.drainLimit = 100_000
        } _: { server in
            let client = try Client(port: server.boundPort)
            let header = isChunked ? "Transfer-Encoding: chunked" : "Content-Length: 1000000000"
            try client.request("PUT", "/", "\(header)\r\n")
            if isChunked { try client.send("ffffff\r\n") }
            // Half a megabyte of a body that would be larger: the answer comes before its end.
            try client.send([UInt8](repeating: 1, count: 500_000))
            let reply = try client.reply()
            #expect(reply.status == 413)
            #expect(reply.text == "too large")
            #expect(reply.headers["connection"] == "close")
            #expect(try client.isClosedByServer())
            client.hangUp()
            let record = try handler.ended.wait()[0].record
            #expect(record.outcome == .completed)
            #expect(record.bytesSent == 9)
        }
    }

    @Test func `a client that waits for 100 Continue is refused before it sends`() throws {
        try withServer { _ in
            .refuse(.text("no", status: 415))
        } _: { server in
            let client = try Client(port: server.boundPort)
            try client.request("PUT", "/", "Content-Length: 10\r\nExpect: 100-continue\r\n")
            #expect(try client.reply().status == 415)
            #expect(try client.isClosedByServer())
        }
    }

    @Test func `a client that waits for 100 Continue is told to go on`() throws {
        try withServer(handler: echo) { server in
            let client = try Client(port: server.boundPort)
            try client.request("PUT", "/", "Content-Length: 5\r\nExpect: 100-continue\r\n")
            #expect(try client.head().status == 100)
            try client.send("hello")
            #expect(try client.reply().text == "hello")
        }
    }

    @Test func `a refused small body is dropped and the connection kept`() throws {
        try withServer { exchange in
            exchange.hasBody ? .refuse(.text("no", status: 404)) : .respond(.text("yes"))
        } _: { server in
            let client = try Client(port: server.boundPort)
            try client.request(
                "POST", "/", "Content-Length: 50000\r\n", then: .init(repeating: 1, count: 50_000))
            #expect(try client.reply().status == 404)
            #expect(try client.get("/").text == "yes")
        }
    }

    @Test func `DELETE may have a body`() throws {
        try withServer(handler: echo) { server in
            let client = try Client(port: server.boundPort)
            try client.request("DELETE", "/", "Content-Length: 2\r\n", then: [1, 2])
            #expect(try client.reply().body == [1, 2])
        }
    }
}
