import MicroHTTP
import Testing

@Suite struct StreamTests {
    @Test func `pushes arrive as they are made`() throws {
        let stream = EventStream()
        let closed = Signal<Bool>()
        stream.onClose { closed.report(true) }
        let handler = TestHandler { _ in
            .respond(
                Response(
                    status: 200, headers: [("Content-Type", "text/event-stream")],
                    content: .stream(stream)))
        }
        try withServer(handler) { server in
            stream.send(Array("before".utf8))
            let client = try Client(port: server.boundPort)
            try client.request("GET", "/")
            #expect(try client.head().headers["transfer-encoding"] == "chunked")
            #expect(try client.chunk() == Array("before".utf8))
            for turn in 1...20 {
                #expect(stream.send(Array("event \(turn)".utf8)))
                #expect(try client.chunk() == Array("event \(turn)".utf8))
            }
            #expect(closed.all.isEmpty)
            stream.finish()
            #expect(try client.chunk() == nil)
            #expect(try closed.wait() == [true])
            #expect(!stream.send([1]))
            let record = try handler.ended.wait()[0].record
            #expect(record.outcome == .completed)
            #expect(record.bytesSent == 6 + 9 * 7 + 11 * 8)
        }
    }

    @Test func `a connection is kept after a stream has finished`() throws {
        try withServer { exchange in
            guard exchange.path == "/stream" else { return .respond(.text("plain")) }
            let stream = EventStream()
            stream.send(Array("all".utf8))
            stream.finish()
            return .respond(Response(status: 200, content: .stream(stream)))
        } _: { server in
            let client = try Client(port: server.boundPort)
            #expect(try client.get("/stream").text == "all")
            #expect(try client.get("/").text == "plain")
        }
    }

    @Test func `a client that leaves a silent stream is noticed at once`() throws {
        let stream = EventStream()
        let closed = Signal<Bool>()
        let delivered = Signal<Bool>()
        let handler = TestHandler { _ in
            .respond(
                Response(status: 200, content: .stream(stream)) { delivered.report($0) })
        }
        try withServer(handler) { server in
            let client = try Client(port: server.boundPort)
            try client.request("GET", "/")
            _ = try client.head()
            stream.onClose { closed.report(true) }
            let start = ContinuousClock.now
            client.hangUp()
            _ = try closed.wait()
            #expect(ContinuousClock.now - start < .seconds(1))
            #expect(stream.isClosed)
            #expect(!stream.send([1]))
            #expect(try handler.ended.wait()[0].record.outcome == .clientGone)
            #expect(delivered.all == [false])
        }
    }

    @Test func `a reader that is too slow is dropped`() throws {
        let stream = EventStream(backlogLimit: 100_000)
        let closed = Signal<Bool>()
        stream.onClose { closed.report(true) }
        let handler = TestHandler { _ in
            .respond(Response(status: 200, content: .stream(stream)))
        }
        try withServer(handler) { server in
            let client = try Client(port: server.boundPort, receiveBuffer: 4096)
            try client.request("GET", "/")
            _ = try client.head()
            let block = [UInt8](repeating: 1, count: 50_000)
            var sent = 0
            while stream.send(block), sent < 1000 { sent += 1; client.pause() }
            #expect(sent < 1000)
            #expect(try closed.wait() == [true])
            #expect(try handler.ended.wait()[0].record.outcome == .broken)
            _ = try client.rest()
        }
    }

    @Test func `a fast reader gets megabytes in order`() throws {
        let stream = EventStream(backlogLimit: 8 << 20)
        try withServer { _ in
            .respond(Response(status: 200, content: .stream(stream)))
        } _: { server in
            let client = try Client(port: server.boundPort)
            try client.request("GET", "/")
            var sent: [UInt8] = []
            for turn in 0..<400 {
                let block = [UInt8](repeating: UInt8(truncatingIfNeeded: turn), count: 10_007)
                sent += block
                stream.send(block)
            }
            stream.finish()
            #expect(try client.reply().body == sent)
        }
    }

    @Test(arguments: ["HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", "GET /304 HTTP/1.1\r\nHost: a\r\n\r\n"])
    func `where no body may be, a stream ends with the head`(request: String) throws {
        let closed = Signal<Bool>()
        try withServer { exchange in
            let stream = EventStream()
            stream.onClose { closed.report(true) }
            return .respond(
                Response(
                    status: exchange.path == "/304" ? 304 : 200, content: .stream(stream)))
        } _: { server in
            let client = try Client(port: server.boundPort)
            try client.send(request)
            #expect(try client.reply(toHead: true).headers["content-length"] == nil)
            #expect(try client.isClosedByServer())
            #expect(try closed.wait() == [true])
        }
    }

    @Test func `a stream to HTTP 1.0 ends with its connection`() throws {
        try withServer { _ in
            let stream = EventStream()
            stream.send(Array("all".utf8))
            stream.finish()
            return .respond(Response(status: 200, content: .stream(stream)))
        } _: { server in
            let client = try Client(port: server.boundPort)
            try client.send("GET / HTTP/1.0\r\n\r\n")
            #expect(try client.reply().text == "all")
        }
    }

    @Test func `a stream whose answer is not accepted is over`() throws {
        let closed = Signal<Bool>()
        try withServer { exchange in
            exchange.respond(.text("first"))
            let stream = EventStream()
            stream.onClose { closed.report(true) }
            exchange.respond(Response(status: 200, content: .stream(stream)))
            return .later
        } _: { server in
            #expect(fetch(port: server.boundPort)?.text == "first")
            #expect(closed.all == [true])
        }
    }
}
