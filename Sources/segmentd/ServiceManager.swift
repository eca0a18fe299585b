import Glibc
import SharedMemory

/// The service manager that started this process and wants to hear from it: sd_notify(3), spoken
/// by hand, for it is one datagram to a Unix socket.
struct ServiceManager: Sendable {
    /// How often it wants to hear that all is well, in milliseconds; nil if it does not.
    let watchdogInterval: Int64?

    private let address: [UInt8]

    /// The manager of this process, or nil without one.
    static var current: ServiceManager? {
        guard let name = environment("NOTIFY_SOCKET"), let first = name.utf8.first,
            first == UInt8(ascii: "/") || first == UInt8(ascii: "@"),
            name.utf8.count < MemoryLayout<sockaddr_un>.size - MemoryLayout<sa_family_t>.size
        else { return nil }
        var path = Array(name.utf8)
        // An abstract name is written with @ for the zero that it begins with.
        if first == UInt8(ascii: "@") { path[0] = 0 }
        return ServiceManager(watchdogInterval: interval, address: path)
    }

    private init(watchdogInterval: Int64?, address: [UInt8]) {
        self.watchdogInterval = watchdogInterval
        self.address = address
    }

    private static var interval: Int64? {
        guard let text = environment("WATCHDOG_USEC"), let microseconds = Int64(text),
            microseconds > 0
        else { return nil }
        if let process = environment("WATCHDOG_PID"), process != "\(getpid())" { return nil }
        return max(1, microseconds / 1000)
    }

    private static func environment(_ name: String) -> String? {
        unsafe getenv(name).map { unsafe String(cString: $0) }
    }

    /// Tells it that files are read again; `READY=1` is to follow.
    func notifyReloading() {
        notify("RELOADING=1", "MONOTONIC_USEC=\(MonotonicInstant.now.nanoseconds / 1_000)")
    }

    /// Tells it something; if it does not listen, that is that.
    ///
    /// - Parameter lines: Assignments, such as `READY=1`.
    func notify(_ lines: String...) {
        let kind = CInt(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue)
        let descriptor = socket(AF_UNIX, kind, 0)
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        var name = sockaddr_un()
        name.sun_family = sa_family_t(AF_UNIX)
        let offset = MemoryLayout<sa_family_t>.size
        let message = Array(lines.joined(separator: "\n").utf8)
        unsafe withUnsafeMutableBytes(of: &name) { bytes in
            unsafe UnsafeMutableRawBufferPointer(rebasing: bytes[offset...])
                .copyBytes(from: address)
            unsafe bytes.withMemoryRebound(to: sockaddr.self) { name in
                _ = unsafe sendto(
                    descriptor, message, message.count, CInt(MSG_NOSIGNAL | MSG_DONTWAIT),
                    name.baseAddress, socklen_t(offset + address.count))
            }
        }
    }
}
