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

    /// What a socket is bound to, or nil if that is neither TCP nor a Unix socket.
    static func local(of descriptor: CInt) -> SocketAddress? {
        var storage = sockaddr_storage()
        var size = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let result = unsafe withUnsafeMutablePointer(to: &storage) { pointer in
            unsafe UnsafeMutableRawPointer(pointer).withMemoryRebound(
                to: sockaddr.self, capacity: 1
            ) {
                unsafe getsockname(descriptor, $0, &size)
            }
        }
        guard result == 0, [AF_INET, AF_INET6, AF_UNIX].contains(CInt(storage.ss_family)) else {
            return nil
        }
        return SocketAddress(storage: storage, size: size)
    }

    private init(storage: sockaddr_storage, size: socklen_t) {
        self.storage = storage
        self.size = size
    }

    /// The address as an endpoint; of a Unix socket without a file, the name behind an `@`.
    var endpoint: Endpoint {
        unsafe withUnsafeBytes(of: storage) { bytes in
            switch family {
            case AF_UNIX:
                let end = min(Int(size), bytes.count)
                let start = min(MemoryLayout<sa_family_t>.size, end)
                let name = unsafe UnsafeRawBufferPointer(rebasing: bytes[start..<end])
                if unsafe name.first == 0 {
                    return .unix(
                        path: unsafe "@\(String(decoding: name.dropFirst(), as: UTF8.self))")
                }
                return .unix(path: unsafe String(decoding: name.prefix { $0 != 0 }, as: UTF8.self))
            case AF_INET6:
                return .tcp(
                    host: unsafe addressText(
                        AF_INET6, UnsafeRawBufferPointer(rebasing: bytes[8..<24])), port: port)
            default:
                return .tcp(
                    host: unsafe addressText(
                        AF_INET, UnsafeRawBufferPointer(rebasing: bytes[4..<8])), port: port)
            }
        }
    }

    /// Whether only this host can reach the address.
    var isLoopback: Bool {
        unsafe withUnsafeBytes(of: storage) { bytes in
            switch family {
            case AF_INET:
                return unsafe bytes[4] == 127
            case AF_INET6:
                let address = unsafe UnsafeRawBufferPointer(rebasing: bytes[8..<24])
                let isOne = unsafe address.dropLast().allSatisfy { $0 == 0 } && address.last == 1
                // 127.0.0.0/8 in the form of an IPv6 address.
                let isMapped =
                    unsafe address.prefix(10).allSatisfy { $0 == 0 }
                    && address[10] == 0xFF && address[11] == 0xFF && address[12] == 127
                return isOne || isMapped
            default:
                return true
            }
        }
    }
}

/// Writes an IPv4 or IPv6 address, given as it goes over the network.
func addressText(_ family: CInt, _ address: UnsafeRawBufferPointer) -> String {
    unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(INET6_ADDRSTRLEN)) { text in
        guard let start = text.baseAddress,
            unsafe inet_ntop(family, address.baseAddress, start, socklen_t(INET6_ADDRSTRLEN)) != nil
        else { return "unknown" }
        return unsafe String(cString: start)
    }
}
