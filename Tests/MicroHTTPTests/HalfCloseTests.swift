import MicroHTTP
import Testing

/// Clients that close their sending side and go on reading.
@Suite struct HalfCloseTests {
    static let incomplete: [Octets] = [
        "G", "GET / HTTP/1.1", "\r\n\r\n\r\n",
        "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: a\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r",
        "\(String(repeating: "\0", count: 1000))",
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{3}\u{3}\(String(repeating: "\0", count: 100))",
    ]

    static let withoutEnd: [Octets] = [
        "Content-Length: 100\r\n\r\n", "Content-Length: 100\r\n\r\nhello",
        "Content-Length: 100000\r\n\r\n\(String(repeating: "x", count: 99_999))",
        "Transfer-Encoding: chunked\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n6",
        "Transfer-Encoding: chunked\r\n\r\n6\r\nhell",
        "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n",
        "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n",
        "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX: y\r\n",
    ]

    let collect: @Sendable (Exchange) -> Plan = { exchange in
        guard exchange.hasBody else { return .respond(.text(exchange.path)) }
        return .collect(limit: 200_000, overflow: .text("", status: 413)) { _ in
            .respond(.text("whole"))
        }
    }

    @Test(arguments: incomplete, [false, true])
    func `what will never be a request is cut off at once`(sent: Octets, isLate: Bool) throws {
        let handler = TestHandler(collect)
        try withServer(handler) { server in
            let start = ContinuousClock.now
            for _ in 1...20 {
                let client = try Client(port: server.boundPort)
                try client.send(sent.text)
                if isLate { client.pause() }
                client.finishSending()
                #expect(try client.isClosedByServer())
            }
            #expect(ContinuousClock.now - start < .seconds(5))
        }
        #expect(handler.ended.all.isEmpty)
    }

    @Test(arguments: withoutEnd, [false, true])
    func `a body that will never be whole is given up at once`(sent: Octets, isLate: Bool) throws {
        let handler = TestHandler(collect)
        try withServer(handler) { server in
            let start = ContinuousClock.now
            for _ in 1...20 {
                let client = try Client(port: server.boundPort)
                try client.send("PUT / HTTP/1.1\r\nHost: a\r\n\(sent.text)")
                if isLate { client.pause() }
                client.finishSending()
                #expect(try client.isClosedByServer())
            }
            let ended = try handler.ended.wait(count: 20)
            #expect(ended.allSatisfy { $0.record.outcome == .clientGone })
            #expect(ended.allSatisfy { $0.record.status == nil })
            #expect(ContinuousClock.now - start < .seconds(5))
        }
    }

    @Test func `a body that is dropped and will never be whole is given up at once`() throws {
        let handler = TestHandler { _ in .refuse(.text("no", status: 404)) }
        try withServer(handler) { server in
            let client = try Client(port: server.boundPort)
            try client.request("PUT", "/", "Content-Length: 100\r\n", then: [1, 2, 3])
            client.finishSending()
            #expect(try client.isClosedByServer())
            #expect(try handler.ended.wait()[0].record.outcome == .clientGone)
        }
    }

    @Test func `a body that was promised and never comes is given up at once`() throws {
        let handler = TestHandler(collect)
        try withServer(handler) { server in
            let client = try Client(port: server.boundPort)
            try client.request("PUT", "/", "Content-Length: 100\r\nExpect: 100-continue\r\n")
            client.finishSending()
            _ = try client.rest()
            #expect(try handler.ended.wait()[0].record.outcome == .clientGone)
        }
    }

    @Test(arguments: ["", "GET /3 HT", "PUT /3 HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx"])
    func `whole requests are answered before the rest is given up`(rest: String) throws {
        try withServer(handler: collect) { server in
            for _ in 1...20 {
                let client = try Client(port: server.boundPort)
                try client.send(
                    "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n"
                        + "PUT /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi\(rest)")
                client.finishSending()
                #expect(try client.reply().text == "/1")
                #expect(try client.reply().text == "whole")
                #expect(try client.isClosedByServer())
            }
        }
    }

    @Test func `many requests in a pipeline are all answered`() throws {
        try withServer(handler: collect) { server in
            let client = try Client(port: server.boundPort)
            // More than one buffer of libmicrohttpd takes.
            try client.send(
                (1...1000).map { "GET /\($0) HTTP/1.1\r\nHost: test\r\n\r\n" }.joined())
            client.finishSending()
            for turn in 1...1000 { #expect(try client.reply().text == "/\(turn)") }
            #expect(try client.isClosedByServer())
        }
    }

    @Test func `long answers to a slow reader arrive whole`() throws {
        let handler = TestHandler { _ in
            .respond(.text(String(repeating: "x", count: 4 << 20)))
        }
        try withServer(handler) { server in
            let client = try Client(port: server.boundPort, receiveBuffer: 4096)
            try client.send(String(repeating: "GET / HTTP/1.1\r\nHost: a\r\n\r\n", count: 2))
            client.finishSending()
            for _ in 1...2 {
                client.pause()
                #expect(try client.reply().body.count == 4 << 20)
            }
            #expect(try client.isClosedByServer())
            let ended = try handler.ended.wait(count: 2)
            #expect(ended.allSatisfy { $0.record.outcome == .completed })
        }
    }

    @Test(arguments: [
        ("GET / HTTP/9.9\r\n\r\n", 505), ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nbroken header\r\n\r\n", 400),
        ("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    ])
    func `what libmicrohttpd refuses itself is told so`(text: String, status: Int) throws {
        try withServer(handler: collect) { server in
            for _ in 1...20 {
                let client = try Client(port: server.boundPort)
                try client.send(text)
                client.finishSending()
                #expect(try client.head().status == status)
                _ = try client.rest()
            }
        }
    }

    @Test func `a client that waits for a late answer has hung up`() throws {
        let left = Signal<Bool>()
        let handler = TestHandler { exchange in
            guard exchange.path == "/wait" else { return .respond(.text("first")) }
            exchange.onHangUp { left.report(true) }
            return .later
        }
        try withServer(handler) { server in
            let start = ContinuousClock.now
            for turn in 1...20 {
                let client = try Client(port: server.boundPort)
                if turn % 2 == 0 { try client.request("GET", "/first") }
                try client.request("GET", "/wait")
                client.finishSending()
                if turn % 2 == 0 { #expect(try client.reply().text == "first") }
                #expect(try client.isClosedByServer())
            }
            #expect(try left.wait(count: 20).count == 20)
            #expect(ContinuousClock.now - start < .seconds(5))
        }
        #expect(handler.ended.all.count { $0.record.outcome == .clientGone } == 20)
    }

    @Test func `a Unix socket is no different`() throws {
        let path = "/tmp/microhttp-\(UInt64.random(in: .min ... .max)).sock"
        try withServer {
            $0.endpoints = [.unix(path: path)]
        } handler: {
            collect($0)
        } _: { _ in
            let broken = try Client(path: path)
            try broken.request("PUT", "/", "Content-Length: 100\r\n", then: [1, 2, 3])
            broken.finishSending()
            #expect(try broken.isClosedByServer())
            let whole = try Client(path: path)
            try whole.request("GET", "/whole")
            whole.finishSending()
            #expect(try whole.reply().text == "/whole")
            #expect(try whole.isClosedByServer())
        }
    }
}
