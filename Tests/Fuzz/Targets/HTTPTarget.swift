import Foundation
import MicroHTTP
import SegmentAPI
import SegmentService
import SharedMemory

/// What a client sends on one connection, to a server with the whole service behind it.
///
/// Whatever it is, the connection comes to an end, and what comes back is HTTP.
enum HTTPTarget {
    private static let server = start()
    private static let port = server.boundPort

    @Sendable static func check(_ input: [UInt8]) {
        let connection = connect()
        defer { close(connection) }
        var rest = input[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes {
                send(connection, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { break }  // It has been answered, and hung up on.
            rest = rest.dropFirst(count)
        }
        shutdown(connection, Int32(SHUT_WR))

        var answer: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65536)
        while true {
            let count = recv(connection, &buffer, buffer.count, 0)
            if count < 0, errno == EINTR { continue }  // libFuzzer looks at its watch.
            guard count >= 0 else {
                require(errno == ECONNRESET, "an answer in time, not errno \(errno)")
                break
            }
            guard count > 0 else { break }
            answer += buffer[..<count]
        }
        guard !answer.isEmpty else { return }
        let text = String(decoding: answer.prefix(32), as: UTF8.self)
        let status = Int(text.dropFirst(9).prefix(3)) ?? 0
        require(text.hasPrefix("HTTP/1.") && 100...599 ~= status, "HTTP, not \(text)")
        require(status < 500 || status == 505, "no fault of the server's: \(text)")
    }

    private static func connect() -> CInt {
        let connection = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        let size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let status = withUnsafePointer(to: address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Foundation.connect(connection, $0, size)
            }
        }
        require(status == 0, "the server takes a connection: errno \(errno)")
        // No port is kept waiting for stragglers, of which there would soon be none left.
        var linger = linger(l_onoff: 1, l_linger: 0)
        setsockopt(
            connection, SOL_SOCKET, SO_LINGER, &linger,
            socklen_t(MemoryLayout.size(ofValue: linger)))
        var patience = timeval(tv_sec: 10, tv_usec: 0)
        setsockopt(
            connection, SOL_SOCKET, SO_RCVTIMEO, &patience,
            socklen_t(MemoryLayout.size(ofValue: patience)))
        return connection
    }

    private static func start() -> Server {
        let service = SegmentService(
            configuration: SegmentService.Configuration(environment: .current()))
        let configuration = Server.Configuration(
            endpoints: [.tcp(host: "127.0.0.1", port: 0)])
        let facts = ServerFacts(
            version: "0", transport: configuration, bodyByteLimit: 1024 * 1024)
        let api = SegmentAPI(
            service: service, policy: AccessPolicy(environment: .current()), facts: facts
        ) { _ in }
        guard let server = try? Server(configuration: configuration, handler: api),
            service.start(), (try? server.start()) != nil
        else { fatalError("the server does not start") }
        return server
    }
}
