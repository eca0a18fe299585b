internal import CMicroHTTPD
internal import Glibc

/// The other end of a connection.
struct Peer: Hashable, Sendable {
    /// Who made a connection over a Unix socket, by the kernel's word at that moment.
    struct Credentials: Hashable, Sendable {
        /// 0 for a process that this one cannot see.
        let process: CInt
        let user: UInt32
        let group: UInt32
        /// When the connection was accepted, in nanoseconds of the boot clock.
        let time: UInt64
    }

    private enum Kind: Hashable {
        case ipv4(UInt32)
        case ipv6(high: UInt64, low: UInt64)
        case unix(Credentials)
        case unknown
    }

    private let kind: Kind
    private let port: UInt16

    /// Whom connections are counted for.
    ///
    /// An IPv6 address counts by its first half, for whoever has one address has all with the same
    /// first half; a Unix socket's client by its user.
    struct Origin: Hashable {
        fileprivate enum Kind: Hashable {
            case ipv4(UInt32)
            case ipv6(UInt64)
            case user(UInt32)
            case unknown
        }

        fileprivate let kind: Kind
    }

    /// Reads what the kernel says of a connection.
    init(_ storage: sockaddr_storage, descriptor: CInt) {
        var storage = storage
        (kind, port) = unsafe withUnsafeBytes(of: &storage) { bytes in
            func number<Number: FixedWidthInteger>(at offset: Int, _: Number.Type) -> Number {
                unsafe Number(
                    bigEndian: bytes.loadUnaligned(fromByteOffset: offset, as: Number.self))
            }
            // The port follows the family in both kinds of address.
            switch unsafe CInt(bytes.load(as: sa_family_t.self)) {
            case AF_INET:
                return (.ipv4(number(at: 4, UInt32.self)), number(at: 2, UInt16.self))
            case AF_INET6:
                return (
                    .ipv6(high: number(at: 8, UInt64.self), low: number(at: 16, UInt64.self)),
                    number(at: 2, UInt16.self)
                )
            case AF_UNIX:
                var (process, user, group): (CInt, UInt32, UInt32) = (0, .max, .max)
                _ = unsafe cmicrohttpd_peer_credentials(descriptor, &process, &user, &group)
                let credentials = Credentials(
                    process: process, user: user, group: group, time: bootNanoseconds())
                return (.unix(credentials), 0)
            default:
                return (.unknown, 0)
            }
        }
    }

    var credentials: Credentials? {
        guard case .unix(let credentials) = kind else { return nil }
        return credentials
    }

    var isOverUnixSocket: Bool { credentials != nil }

    var origin: Origin {
        switch kind {
        case .ipv4(let address): Origin(kind: .ipv4(address))
        case .ipv6(let high, _): Origin(kind: .ipv6(high))
        case .unix(let credentials): Origin(kind: .user(credentials.user))
        case .unknown: Origin(kind: .unknown)
        }
    }
}

extension Peer: CustomStringConvertible {
    /// The address as a client would write it: `127.0.0.1:50000`, `[::1]:50000` or `unix`.
    var description: String {
        switch kind {
        case .ipv4(let address): "\(text(AF_INET, address.bigEndian)):\(port)"
        case .ipv6(let high, let low):
            "[\(text(AF_INET6, (high.bigEndian, low.bigEndian)))]:\(port)"
        case .unix: "unix"
        case .unknown: "unknown"
        }
    }

    private func text<Address>(_ family: CInt, _ address: Address) -> String {
        unsafe withUnsafeBytes(of: address) { unsafe addressText(family, $0) }
    }
}

/// The time since the system started, which is what the start of processes is told in.
private func bootNanoseconds() -> UInt64 {
    var time = timespec()
    unsafe clock_gettime(CLOCK_BOOTTIME, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}
