internal import CMicroHTTPD
internal import Glibc

/// One client's connection.
@safe
final class Link: @unchecked Sendable {
    // Sendable: the constants are; the variables are touched on the loop thread only.
    let loop: Loop
    let daemon: Daemon
    let descriptor: CInt
    let peer: String
    // Valid until `isClosed`.
    private let connection: OpaquePointer

    /// Where the loop keeps it.
    var index = 0
    /// When to give up on the client, in nanoseconds of the monotonic clock.
    var deadline: UInt64
    /// Whether that moment came.
    var isOverdue = false
    /// Whether the client sends no more, be it that it left or that it only closed its side.
    var hasSentAll = false
    /// Whether libmicrohttpd has let go of it.
    var isClosed = false
    /// The request that is being received or answered.
    var exchange: Exchange?

    init(loop: Loop, daemon: Daemon, connection: OpaquePointer) {
        self.loop = loop
        self.daemon = daemon
        unsafe self.connection = connection
        unsafe descriptor = cmicrohttpd_descriptor(connection)
        unsafe peer = describe(cmicrohttpd_peer(connection))
        deadline = monotonicNanoseconds() + loop.patience
    }

    /// Whether a request is here whole, or libmicrohttpd answers what is no request.
    var isAnswering: Bool {
        if let exchange, !exchange.isReceiving { return true }
        return unsafe cmicrohttpd_has_answer(connection) != 0
    }

    /// Whether the client sends no more and everything it sent was read.
    var isReadToEnd: Bool {
        var byte: UInt8 = 0
        return unsafe recv(descriptor, &byte, 1, CInt(MSG_PEEK | MSG_DONTWAIT)) == 0
    }
}

/// Writes an address as a client would: `127.0.0.1:50000`, `[::1]:50000` or `unix`.
func describe(_ address: UnsafePointer<sockaddr>?) -> String {
    guard let address = unsafe address else { return "unknown" }
    return unsafe withUnsafeTemporaryAllocation(
        of: CChar.self, capacity: Int(INET6_ADDRSTRLEN)
    ) { text in
        guard let start = text.baseAddress else { return "unknown" }
        switch unsafe CInt(address.pointee.sa_family) {
        case AF_INET:
            return unsafe UnsafeRawPointer(address).withMemoryRebound(
                to: sockaddr_in.self, capacity: 1
            ) { inet in
                var host = unsafe inet.pointee.sin_addr
                unsafe inet_ntop(AF_INET, &host, start, socklen_t(INET6_ADDRSTRLEN))
                return
                    unsafe "\(String(cString: start)):\(UInt16(bigEndian: inet.pointee.sin_port))"
            }
        case AF_INET6:
            return unsafe UnsafeRawPointer(address).withMemoryRebound(
                to: sockaddr_in6.self, capacity: 1
            ) { inet in
                var host = unsafe inet.pointee.sin6_addr
                unsafe inet_ntop(AF_INET6, &host, start, socklen_t(INET6_ADDRSTRLEN))
                return
                    unsafe "[\(String(cString: start))]:\(UInt16(bigEndian: inet.pointee.sin6_port))"
            }
        case AF_UNIX:
            return "unix"
        default:
            return "unknown"
        }
    }
}
