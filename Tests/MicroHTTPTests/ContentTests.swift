import Glibc
import MicroHTTP
import Testing

@Suite struct ContentTests {
    /// Counts how often it is let go of.
    final class Owner: Sendable {
        let released: Signal<Bool>
        init(_ released: Signal<Bool>) { self.released = released }
        deinit { released.report(true) }
    }

    /// Pages of a file that can be truncated under its mapping.
    @safe
    final class Pages: @unchecked Sendable {
        // Sendable: the address is constant and the mapping lives as long as the object.
        let bytes: UnsafeRawBufferPointer
        let descriptor: CInt
        let released: Signal<Bool>

        init(byteCount: Int, released: Signal<Bool>) throws {
            let name = "/microhttp-test-\(UInt64.random(in: .min ... .max))"
            descriptor = unsafe shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0o600)
            _ = unsafe shm_unlink(name)
            _ = ftruncate(descriptor, byteCount)
            guard
                let base = unsafe mmap(
                    nil, byteCount, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0),
                unsafe base != MAP_FAILED
            else { throw Client.Failure(what: "mmap") }
            unsafe memset(base, 5, byteCount)
            unsafe bytes = UnsafeRawBufferPointer(start: base, count: byteCount)
            self.released = released
        }

        var content: Response.Content { unsafe .memory(bytes, owner: self) }

        deinit {
            unsafe munmap(UnsafeMutableRawPointer(mutating: bytes.baseAddress), bytes.count)
            close(descriptor)
            released.report(true)
        }
    }

    @Test(arguments: [1, 4096, 5_000_000])
    func `lent memory is sent whole and let go of once`(byteCount: Int) throws {
        let released = Signal<Bool>()
        try withServer { _ in
            guard let pages = try? Pages(byteCount: byteCount, released: released) else {
                return .respond(.text("", status: 500))
            }
            return .respond(Response(status: 200, content: pages.content))
        } _: { server in
            let client = try Client(port: server.boundPort)
            for turn in 1...3 {
                #expect(try client.get("/").body == .init(repeating: 5, count: byteCount))
                #expect(try released.wait(count: turn).count == turn)
            }
            try client.request("HEAD", "/")
            #expect(try client.reply(toHead: true).headers["content-length"] == "\(byteCount)")
            #expect(try released.wait(count: 4).count == 4)
        }
        #expect(released.all.count == 4)
    }

    @Test(arguments: [0, 4096, 1 << 20])
    func `memory that is truncated away closes one connection`(left: Int) throws {
        let released = Signal<Bool>()
        let delivered = Signal<Bool>()
        let handler = TestHandler { exchange in
            guard exchange.path == "/pages" else { return .respond(.text("alive")) }
            guard let pages = try? Pages(byteCount: 4 << 20, released: released) else {
                return .respond(.text("", status: 500))
            }
            _ = ftruncate(pages.descriptor, left)
            return .respond(
                Response(status: 200, content: pages.content) { delivered.report($0) })
        }
        try withServer(handler) { server in
            let other = try Client(port: server.boundPort)
            #expect(try other.get("/").text == "alive")
            let client = try Client(port: server.boundPort)
            try client.request("GET", "/pages")
            let received = try client.rest()
            #expect(received.count <= left + 1000)
            #expect(try delivered.wait() == [false])
            #expect(try released.wait().count == 1)
            #expect(try other.get("/").text == "alive")
            #expect(try handler.ended.wait(count: 2)[1].record.outcome == .broken)
        }
    }

    @Test func `a client that leaves in the middle lets go of the memory`() throws {
        let released = Signal<Bool>()
        try withServer { _ in
            guard let pages = try? Pages(byteCount: 64 << 20, released: released) else {
                return .respond(.text("", status: 500))
            }
            return .respond(Response(status: 200, content: pages.content))
        } _: { server in
            let client = try Client(port: server.boundPort, receiveBuffer: 4096)
            try client.request("GET", "/")
            _ = try client.head()
            client.hangUp()
            #expect(try released.wait().count == 1)
        }
    }

    struct Counter: BodyProducer {
        let byteCount: Int
        var failsAt = Int.max

        func produce(into bytes: inout OutputRawSpan, at offset: Int) -> Production {
            let count = min(bytes.freeCapacity, byteCount - offset, 1000)
            if offset >= failsAt { return .failed }
            for index in 0..<count {
                bytes.append(UInt8(truncatingIfNeeded: offset + index))
            }
            return offset + count == byteCount ? .end : .more
        }
    }

    @Test(arguments: [true, false], [0, 1, 1000, 123_456])
    func `a producer is asked until its end`(isKnown: Bool, byteCount: Int) throws {
        try withServer { _ in
            let producer = Counter(byteCount: byteCount)
            return .respond(
                Response(
                    status: 200,
                    content: .producer(byteCount: isKnown ? byteCount : nil, producer)))
        } _: { server in
            let client = try Client(port: server.boundPort)
            let expected = (0..<byteCount).map { UInt8(truncatingIfNeeded: $0) }
            for _ in 1...2 { #expect(try client.get("/").body == expected) }
        }
    }

    @Test(arguments: [true, false])
    func `a producer that fails closes the connection`(isKnown: Bool) throws {
        let handler = TestHandler { _ in
            let producer = Counter(byteCount: 100_000, failsAt: 50_000)
            return .respond(
                Response(
                    status: 200, content: .producer(byteCount: isKnown ? 100_000 : nil, producer)))
        }
        try withServer(handler) { server in
            let client = try Client(port: server.boundPort)
            try client.request("GET", "/")
            let received = try client.rest()
            #expect(!received.suffix(5).elementsEqual(Array("0\r\n\r\n".utf8)))
            let record = try handler.ended.wait()[0].record
            #expect(record.outcome == .broken)
            #expect(record.bytesSent == 50_000)
        }
    }

    @Test func `a prepared answer is given many times`() throws {
        let prepared = PreparedResponse(
            status: 404, headers: [("X-Kind", "prepared")], bytes: Array("none".utf8))
        let delivered = Signal<Bool>()
        try withServer { _ in
            .respond(Response(prepared) { delivered.report($0) })
        } _: { server in
            let client = try Client(port: server.boundPort)
            for _ in 1...3 {
                let reply = try client.get("/")
                #expect(reply.status == 404)
                #expect(reply.headers["x-kind"] == "prepared")
                #expect(reply.text == "none")
            }
            #expect(try delivered.wait(count: 3) == [true, true, true])
        }
    }

    @Test(arguments: [204, 304])
    func `an answer without a body leaves the connection usable`(status: Int) throws {
        try withServer { _ in
            .respond(Response(status: status, content: status == 304 ? .bytes([1, 2]) : .empty))
        } _: { server in
            let client = try Client(port: server.boundPort)
            for _ in 1...2 { #expect(try client.get("/").status == status) }
        }
    }
}
