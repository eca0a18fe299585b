internal import CMicroHTTPD
internal import Glibc

/// One client's connection.
final class Link: @unchecked Sendable {
    // Sendable: the constants are; the variables are touched on the loop thread only.
    let loop: Loop
    let daemon: Daemon
    let descriptor: CInt
    let peer: String

    /// Where the loop keeps it.
    var index = 0
    /// When to give up on the client, in nanoseconds of the monotonic clock.
    var deadline: UInt64
    /// Whether that moment came.
    var isOverdue = false
    /// The request that is being received or answered.
    var exchange: Exchange?

    init(loop: Loop, daemon: Daemon, descriptor: CInt, peer: String) {
        self.loop = loop
        self.daemon = daemon
        self.descriptor = descriptor
        self.peer = peer
        deadline = monotonicNanoseconds() + loop.patience
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
