internal import CMicroHTTPD
internal import Glibc

/// An address the kernel understands.
@safe
struct SocketAddress {
    private var storage = sockaddr_storage()
    private let size: socklen_t

    var family: CInt { CInt(storage.ss_family) }

    /// Reads an IPv4 or IPv6 address.
    init?(host: String, port: UInt16) {
        let host = host == "localhost" ? "127.0.0.1" : host
        var four = sockaddr_in()
        var six = sockaddr_in6()
        if unsafe inet_pton(AF_INET, host, &four.sin_addr) == 1 {
            four.sin_family = sa_family_t(AF_INET)
            size = socklen_t(MemoryLayout<sockaddr_in>.size)
            unsafe withUnsafeMutableBytes(of: &storage) {
                unsafe $0.storeBytes(of: four, as: sockaddr_in.self)
            }
        } else if unsafe inet_pton(AF_INET6, host, &six.sin6_addr) == 1 {
            six.sin6_family = sa_family_t(AF_INET6)
            size = socklen_t(MemoryLayout<sockaddr_in6>.size)
            unsafe withUnsafeMutableBytes(of: &storage) {
                unsafe $0.storeBytes(of: six, as: sockaddr_in6.self)
            }
        } else {
            return nil
        }
        self.port = port
    }

    /// Makes the address of a Unix socket.
    init?(path: String) {
        let capacity = MemoryLayout<sockaddr_un>.size - MemoryLayout<sa_family_t>.size
        guard !path.isEmpty, path.utf8.count < capacity else { return nil }
        storage.ss_family = sa_family_t(AF_UNIX)
        size = socklen_t(MemoryLayout<sockaddr_un>.size)
        unsafe withUnsafeMutableBytes(of: &storage) { bytes in
            unsafe UnsafeMutableRawBufferPointer(
                rebasing: bytes[MemoryLayout<sa_family_t>.size...]
            ).copyBytes(from: path.utf8)
        }
    }

    /// The port, which IPv4 and IPv6 keep in the same place.
    var port: UInt16 {
        get {
            unsafe withUnsafeBytes(of: storage) {
                unsafe UInt16(bigEndian: $0.load(fromByteOffset: 2, as: UInt16.self))
            }
        }
        set {
            unsafe withUnsafeMutableBytes(of: &storage) {
                unsafe $0.storeBytes(of: newValue.bigEndian, toByteOffset: 2, as: UInt16.self)
            }
        }
    }

    /// Binds a socket to the address; `errno` says why not.
    func bind(_ descriptor: CInt) -> Bool {
        unsafe withPointer { unsafe Glibc.bind(descriptor, $0, $1) } == 0
    }

    /// Connects a socket to the address; `errno` says why not.
    func connect(_ descriptor: CInt) -> Bool {
        unsafe withPointer { unsafe Glibc.connect(descriptor, $0, $1) } == 0
    }

    private func withPointer<Result>(_ body: (UnsafePointer<sockaddr>, socklen_t) -> Result)
        -> Result
    {
        unsafe withUnsafePointer(to: storage) { pointer in
            unsafe UnsafeRawPointer(pointer).withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe body($0, size)
            }
        }
    }

    /// The TCP port a socket is bound to, or nil if it has none.
    static func port(of descriptor: CInt) -> UInt16? {
        var storage = sockaddr_storage()
        var size = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let result = unsafe withUnsafeMutablePointer(to: &storage) { pointer in
            unsafe UnsafeMutableRawPointer(pointer).withMemoryRebound(
                to: sockaddr.self, capacity: 1
            ) {
                unsafe getsockname(descriptor, $0, &size)
            }
        }
        let family = CInt(storage.ss_family)
        guard result == 0, family == AF_INET || family == AF_INET6 else { return nil }
        return unsafe withUnsafeBytes(of: storage) {
            unsafe UInt16(bigEndian: $0.load(fromByteOffset: 2, as: UInt16.self))
        }
    }
}
