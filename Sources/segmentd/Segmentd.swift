import Glibc
import MicroHTTP
import SegmentAPI
import SegmentService
import SharedMemory

@main
struct Segmentd {
    static func main() throws {
        var set = sigset_t()
        unsafe sigemptyset(&set); unsafe sigaddset(&set, SIGTERM); unsafe sigaddset(&set, SIGINT)
        unsafe pthread_sigmask(SIG_BLOCK, &set, nil)
        let service = SegmentService(configuration: .init(environment: .current()))
        _ = service.start()
        let api = SegmentAPI(service: service, facts: ServerFacts(version: "0.1.0", headerByteLimit: 65536, connectionLimit: 1024)) { _ in }
        var listen = "127.0.0.1:0"
        let args = CommandLine.arguments
        if let i = args.firstIndex(of: "--listen") { listen = args[i+1] }
        var c = Server.Configuration(endpoints: [Endpoint(listen) ?? Endpoint.tcp(host: "127.0.0.1", port: 0)])
        c.threads = 2
        let server = try Server(configuration: c, handler: api)
        try server.start()
        let line = "segmentd 0.1.0 listening on http://127.0.0.1:\(server.boundPort)\n"; _ = unsafe line.withCString { unsafe write(2, $0, strlen($0)) }

        var n: CInt = 0
        unsafe sigwait(&set, &n)
        server.stopAccepting()
        service.shutDown(by: .now.advanced(byMilliseconds: 3000))
        server.stop(within: .seconds(1))
    }
}
