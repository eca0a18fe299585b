import Glibc
import MicroHTTP
import Testing

@Suite struct AskingTests {
    @Test(arguments: [200, 404, 503])
    func `whoever asks learns the status`(status: Int) throws {
        let paths = Signal<String>()
        try withServer { exchange in
            paths.report(exchange.path)
            return .respond(.text("body", status: status))
        } _: { server in
            let endpoint = Endpoint.tcp(host: "127.0.0.1", port: server.boundPort)
            let answered = try endpoint.status(of: "/readyz", within: .seconds(10))
            #expect(answered == status)
        }
        #expect(paths.all == ["/readyz"])
    }

    @Test func `a Unix socket can be asked`() throws {
        let path = "/tmp/asking-\(UInt64.random(in: .min ... .max))"
        try withServer(configure: { $0.endpoints = [.unix(path: path)] }) { _ in
            .respond(.text("ok"))
        } _: { _ in
            let status = try Endpoint.unix(path: path).status(of: "/", within: .seconds(10))
            #expect(status == 200)
        }
        #expect(throws: ServerError.self) {
            _ = try Endpoint.unix(path: path).status(of: "/", within: .seconds(10))
        }
    }

    @Test func `an answer that does not come is not waited for`() throws {
        let waiting = Signal<Exchange>()
        try withServer { exchange in
            waiting.report(exchange)
            return .later
        } _: { server in
            let endpoint = Endpoint.tcp(host: "127.0.0.1", port: server.boundPort)
            let error = #expect(throws: ServerError.self) {
                _ = try endpoint.status(of: "/", within: .milliseconds(100))
            }
            #expect(error?.description.contains("takes too long") == true)
        }
    }
}

@Suite struct LoopsTests {
    @Test(arguments: [1, 4])
    func `every loop comes by`(threads: Int) throws {
        try withServer(configure: { $0.threads = threads }) { _ in
            .respond(.text(""))
        } _: { server in
            let called = Signal<Bool>()
            for turn in 1...20 {
                server.whenEveryLoopHasComeBy { called.report(true) }
                let calls = try called.wait(count: turn)
                #expect(calls.count == turn)
            }
        }
    }

    @Test func `one loop that hangs is missed`() throws {
        let entered = Signal<Bool>()
        let mayGoOn = Signal<Bool>()
        try withServer(configure: { $0.threads = 2 }) { _ in
            entered.report(true)
            _ = try? mayGoOn.wait()
            return .respond(.text(""))
        } _: { server in
            let client = try Client(port: server.boundPort)
            try client.request("GET", "/")
            _ = try entered.wait()
            let called = Signal<Bool>()
            server.whenEveryLoopHasComeBy { called.report(true) }
            usleep(100_000)  // the other loop has come by long since
            #expect(called.all.isEmpty)
            mayGoOn.report(true)
            _ = try called.wait()
            let status = try client.reply().status
            #expect(status == 200)
        }
    }
}
