import MicroHTTP
import Synchronization
import Testing

@Suite struct `An answer of a template` {
    private static let template = ResponseTemplate(
        headers: [("Content-Type", "application/octet-stream")], open: ["X-Number"])
    private static let other = ResponseTemplate(headers: [("Content-Type", "text/plain")])

    private static func answer(_ number: Int, _ content: Response.Content) -> Response {
        var values = HeaderValues()
        values.append { output in
            for byte in "\(number)".utf8 { output.append(byte) }
        }
        return Response(status: 200, template: template, values: values, content: content)
    }

    private static let pattern = (0..<70_000).map { UInt8($0 * 7 % 251) }

    /// So many bytes that tell which answer they belong to.
    private static func bytes(_ number: Int, _ count: Int) -> [UInt8] {
        let start = number % 251
        return Array(pattern[start..<start + count])
    }

    private static func filled(
        _ exchange: Exchange, _ template: ResponseTemplate?, with bytes: [UInt8]
    ) -> OwnedBuffer? {
        exchange.buffer(of: bytes.count, toBeSentWith: template) { output in
            unsafe output.withUnsafeMutableBytes { room, count in
                unsafe room.copyBytes(from: bytes)
                count = bytes.count
            }
        }
    }

    /// How long a body the client asks for, and the how manieth it is.
    private static func wanted(_ exchange: Exchange) -> (number: Int, byteCount: Int) {
        let parts = exchange.path.split(separator: "/").compactMap { Int($0) }
        return (parts[0], parts[1])
    }

    private static func filledAnswer(_ exchange: Exchange) -> Response {
        let (number, byteCount) = wanted(exchange)
        let buffer = filled(exchange, template, with: bytes(number, byteCount))
        return answer(number, buffer.map { .buffer($0) } ?? .empty)
    }

    /// Lends a server whose answers have the bodies that were asked for, filled where they are sent from.
    private func withFillingServer(_ body: (Server) throws -> Void) throws {
        try withServer {
            .respond(Self.filledAnswer($0))
        } _: {
            try body($0)
        }
    }

    private func expect(_ reply: Client.Reply, _ number: Int, _ byteCount: Int) {
        #expect(reply.body == Self.bytes(number, byteCount))
        #expect(reply.headers["x-number"] == "\(number)")
        #expect(reply.headers["content-length"] == "\(byteCount)")
    }

    @Test(arguments: [0, 1, 64, 8 * 1024, 8 * 1024 + 1, 64 * 1024, 64 * 1024 + 1])
    func `has the body that was filled for it, however often one was sent before`(byteCount: Int)
        throws
    {
        try withFillingServer { server in
            let clients = try (0..<3).map { _ in try Client(port: server.boundPort) }
            for number in 0..<60 {
                let reply = try clients[number % 3].get("/\(number)/\(byteCount)")
                expect(reply, number, byteCount)
            }
        }
    }

    @Test(arguments: [20_000, 64 * 1024])
    func `keeps its body while many are on their way at once`(byteCount: Int) throws {
        try withFillingServer { server in
            // Nobody reads until all have asked, more than the kernel keeps for one of them.
            let clients = try (0..<3).map { _ in
                try Client(port: server.boundPort, receiveBuffer: 2048)
            }
            let count = 3_000_000 / byteCount
            for (index, client) in clients.enumerated() {
                for number in 0..<count {
                    try client.request("GET", "/\(index + number)/\(byteCount)")
                }
            }
            for (index, client) in clients.enumerated() {
                for number in 0..<count {
                    expect(try client.reply(), index + number, byteCount)
                }
            }
        }
    }

    @Test(arguments: [64, 20_000])
    func `does not touch a buffer that somebody keeps`(byteCount: Int) throws {
        let kept = Signal<OwnedBuffer>()
        try withServer { exchange in
            let (number, byteCount) = Self.wanted(exchange)
            let buffer = Self.filled(
                exchange, Self.template, with: Self.bytes(number, byteCount))
            guard let buffer else { return .respond(.text("no memory", status: 503)) }
            if number < 40 { kept.report(buffer) }
            return .respond(Self.answer(number, .buffer(buffer)))
        } _: { server in
            let client = try Client(port: server.boundPort)
            for number in 0..<100 {
                expect(try client.get("/\(number)/\(byteCount)"), number, byteCount)
            }
        }
        for (number, buffer) in kept.all.enumerated() {
            let bytes = buffer.withBytes { span in
                (0..<span.byteCount).map { span.unsafeLoad(fromByteOffset: $0, as: UInt8.self) }
            }
            #expect(bytes == Self.bytes(number, byteCount))
        }
    }

    @Test(arguments: [64, 20_000])
    func `may be sent with a buffer that was filled for another one`(byteCount: Int) throws {
        let kept = Signal<OwnedBuffer>()
        try withServer { exchange in
            if let buffer = kept.all.first {
                switch exchange.path {
                case "/other":
                    return .respond(
                        Response(status: 200, template: Self.other, content: .buffer(buffer)))
                case "/plain":
                    return .respond(Response(status: 200, content: .buffer(buffer)))
                default:
                    return .respond(Self.answer(Self.wanted(exchange).number, .buffer(buffer)))
                }
            }
            guard let buffer = Self.filled(exchange, Self.template, with: Self.bytes(7, byteCount))
            else { return .respond(.text("no memory", status: 503)) }
            kept.report(buffer)
            return .respond(.text("kept"))
        } _: { server in
            let clients = try (0..<5).map { _ in
                try Client(port: server.boundPort, receiveBuffer: 2048)
            }
            #expect(try clients[0].get("/keep").text == "kept")
            for (index, client) in clients.enumerated() {
                for number in 0..<200 { try client.request("GET", "/\(index + number)/0") }
            }
            for (index, client) in clients.enumerated() {
                for number in 0..<200 {
                    let reply = try client.reply()
                    #expect(reply.body == Self.bytes(7, byteCount))
                    #expect(reply.headers["x-number"] == "\(index + number)")
                }
            }
            for path in ["/other", "/plain", "/other"] {
                let reply = try clients[1].get(path)
                #expect(reply.body == Self.bytes(7, byteCount))
                #expect(reply.headers["x-number"] == nil)
            }
        }
    }

    @Test func `is given again after its body was thrown away`() throws {
        struct Refusal: Error {}
        try withServer { exchange in
            let byteCount = Self.wanted(exchange).byteCount
            for _ in 0..<100 {
                _ = Self.filled(exchange, Self.template, with: Self.bytes(99, byteCount))
                let failed = try? exchange.buffer(of: byteCount, toBeSentWith: Self.template) {
                    (output) throws(Refusal) in
                    output.append(1)
                    throw Refusal()
                }
                if failed != nil { return .respond(.text("not refused", status: 500)) }
            }
            return .respond(Self.filledAnswer(exchange))
        } _: { server in
            let client = try Client(port: server.boundPort)
            for number in 0..<5 { expect(try client.get("/\(number)/500"), number, 500) }
        }
    }
}
