import MicroHTTP
import Testing

@Suite struct RequestTests {
    @Test func `a connection serves one request after another`() throws {
        try withServer {
            .respond(.text("you asked for \($0.path)"))
        } _: { server in
            let client = try Client(port: server.boundPort)
            for turn in 1...3 {
                let reply = try client.get("/turn/\(turn)")
                #expect(reply.status == 200)
                #expect(reply.headers["connection"] == nil)
                #expect(reply.text == "you asked for /turn/\(turn)")
            }
        }
    }

    @Test func `pipelined requests are answered in order`() throws {
        try withServer {
            .respond(.text($0.path))
        } _: { server in
            let client = try Client(port: server.boundPort)
            try client.send(
                (1...5).map { "GET /\($0) HTTP/1.1\r\nHost: test\r\n\r\n" }.joined())
            for turn in 1...5 { #expect(try client.reply().text == "/\(turn)") }
        }
    }

    @Test func `a refusal amid a pipeline costs neither the connection nor an answer`() throws {
        try withServer { exchange in
            exchange.path == "/2" || exchange.hasBody
                ? .refuse(.text("no \(exchange.path)", status: 404))
                : .respond(.text(exchange.path))
        } _: { server in
            let client = try Client(port: server.boundPort)
            for _ in 1...3 {
                try client.request("GET", "/1")
                try client.request("GET", "/2")
                try client.request("PUT", "/3", "Content-Length: 3\r\n", then: [1, 2, 3])
                try client.request("GET", "/4")
                #expect(try client.reply().text == "/1")
                #expect(try client.reply().text == "no /2")
                #expect(try client.reply().text == "no /3")
                #expect(try client.reply().text == "/4")
            }
            let requests = ["/1", "/2", "/4"].map { "GET \($0) HTTP/1.1\r\nHost: a\r\n\r\n" }
            try client.send(requests.joined())
            #expect(try client.reply().text == "/1")
            let refusal = try client.reply()
            #expect(refusal.status == 404)
            #expect(refusal.headers["connection"] == nil)
            #expect(try client.reply().text == "/4")
        }
    }

    @Test func `HEAD gets the head that GET gets`() throws {
        try withServer { _ in
            .respond(.text("twelve bytes"))
        } _: { server in
            let client = try Client(port: server.boundPort)
            try client.request("HEAD", "/")
            let reply = try client.reply(toHead: true)
            #expect(reply.headers["content-length"] == "12")
            #expect(try client.get("/").text == "twelve bytes")
        }
    }

    @Test(arguments: ["GET", "PUT", "POST", "PATCH", "DELETE", "OPTIONS"])
    func `a method has its name`(method: String) throws {
        try expect(Method(rawValue: method), of: method)
    }

    @Test(arguments: ["get", "PURGE", "GETT", "other"])
    func `a method that is none of ours is another one, and known as it was sent`(method: String)
        throws
    {
        try expect(.other, of: method)
    }

    private func expect(_ method: MicroHTTP.Method?, of name: String) throws {
        try withServer { exchange in
            .respond(.text("\(exchange.method) \(exchange.methodName)"))
        } _: { server in
            let client = try Client(port: server.boundPort)
            try client.request(name, "/")
            #expect(try client.reply().text == "\(try #require(method)) \(name)")
        }
    }

    @Test(arguments: ["%2F", "%00", "a%20b", "%zz", "+"])
    func `a target arrives as it was sent`(part: String) throws {
        try withServer { exchange in
            .respond(.text("\(exchange.path) \(exchange.query ?? "-")"))
        } _: { server in
            let client = try Client(port: server.boundPort)
            #expect(try client.get("/x/\(part)/y?q=\(part)&r").text == "/x/\(part)/y q=\(part)&r")
            #expect(try client.get("/\(part)").text == "/\(part) -")
            #expect(try client.get("/\(part)?").text == "/\(part) ")
        }
    }

    @Test func `a long target arrives whole`() throws {
        try withServer {
            .respond(.text($0.path + "?" + ($0.query ?? "")))
        } _: { server in
            let target =
                "/" + String(repeating: "p", count: 300) + "?" + String(repeating: "q", count: 300)
            let client = try Client(port: server.boundPort)
            #expect(try client.get(target).text == target)
        }
    }

    @Test func `headers are found in any case, and all of their values`() throws {
        try withServer { exchange in
            let values = exchange.headers("x-many").joined(separator: ",")
            return .respond(.text("\(exchange.header("X-ONE") ?? "-") \(values)"))
        } _: { server in
            let client = try Client(port: server.boundPort)
            try client.request("GET", "/", "x-One: 1\r\nX-Many: a\r\nX-MANY: b\r\n")
            #expect(try client.reply().text == "1 a,b")
        }
    }

    @Test func `HTTP 1.0 is answered and its connection closed`() throws {
        try withServer {
            .respond(.text($0.isHTTP11 ? "1.1" : "1.0"))
        } _: { server in
            let client = try Client(port: server.boundPort)
            try client.send("GET / HTTP/1.0\r\n\r\n")
            #expect(try client.reply().text == "1.0")
            #expect(try client.isClosedByServer())
        }
    }

    @Test(arguments: [
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400
        ),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", 400),
        ("HEAD / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ("GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: miracles\r\n\r\n", 417),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\nhello", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ])
    func `a request that says two things at once is refused`(text: String, status: Int) throws {
        let handler = TestHandler { _ in .respond(.text("taken")) }
        try withServer(handler) { server in
            let client = try Client(port: server.boundPort)
            try client.send(text)
            let reply = try client.reply(toHead: text.hasPrefix("HEAD"))
            #expect(reply.status == status)
            #expect(reply.headers["connection"] == "close")
            #expect(try client.isClosedByServer())
            client.hangUp()
            let ended = try handler.ended.wait()
            #expect(ended[0].record.status == status)
            #expect(ended[0].record.outcome == .completed)
        }
    }

    static let beforeUs: [(Octets, Int)] = [
        ("GET /\(String(repeating: "x", count: 70_000)) HTTP/1.1\r\n", 414),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: \(String(repeating: "x", count: 70_000))\r\n\r\n", 431),
        ("GET / HTTP/1.1\r\nno colon here\r\n\r\n", 400),
    ]

    @Test(arguments: beforeUs)
    func `what libmicrohttpd refuses itself reaches no handler and leaks nothing`(
        sent: Octets, status: Int
    ) throws {
        let handler = TestHandler { _ in .respond(.text("taken")) }
        try withServer(handler) { server in
            let client = try Client(port: server.boundPort)
            try? client.send(sent.text)
            #expect(try client.head().status == status)
        }
        #expect(handler.ended.all.isEmpty)
    }

    @Test(arguments: [
        "", "PUT / HTTP/1.1\r\nHost: a\r\nX: ",
        "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 500\r\n\r\n",
    ])
    func `a request that trickles in is cut off`(start: String) throws {
        try withServer {
            $0.requestTimeout = .milliseconds(200)
            $0.idleTimeout = .milliseconds(200)
        } handler: { _ in
            .collect(limit: 1000, overflow: .text("", status: 413)) { _ in .respond(.text("done")) }
        } _: { server in
            let client = try Client(port: server.boundPort)
            try client.send(start)
            var sent = 0
            while sent < 500, (try? client.send("x")) != nil { sent += 1; client.pause() }
            #expect(sent < 500)
        }
    }

    @Test func `a request that never comes to its first line is cut off like one that does`() throws
    {
        try withServer {
            $0.requestTimeout = .milliseconds(200)
        } handler: { _ in
            .respond(.text("done"))
        } _: { server in
            let client = try Client(port: server.boundPort)
            try client.send("no line, and no end")
            #expect(try client.isClosedByServer())
        }
    }
}
