import Glibc
import MicroHTTP

/// A TCP port that only this host can reach.
struct LoopbackAddress {
    /// Where the server listens unless told otherwise.
    static let standard = LoopbackAddress(host: "127.0.0.1", port: 7070)

    private let host: String
    private let port: UInt16

    private init(host: String, port: UInt16) {
        self.host = host
        self.port = port
    }

    /// Reads `127.0.0.1:7070`, `[::1]:7070` or `localhost:7070`.
    init(_ text: String) throws(BadValue) {
        let form: BadValue = "is not an address and a port, such as 127.0.0.1:7070 or [::1]:7070"
        guard let colon = text.lastIndex(of: ":") else { throw form }
        let digits = text[text.index(after: colon)...]
        guard digits.utf8.allSatisfy({ (48...57).contains($0) }), let port = UInt16(digits) else {
            throw "has no port from 0 to 65535 at its end"
        }
        let bracketed = text[..<colon]
        let isBracketed = bracketed.hasPrefix("[") && bracketed.hasSuffix("]")
        let host = String(isBracketed ? bracketed.dropFirst().dropLast() : bracketed)
        guard let isLoopback = Self.isLoopback(host), isBracketed == host.contains(":") else {
            throw form
        }
        guard isLoopback else { throw "is not a loopback address, and others are not served" }
        self.init(host: host, port: port)
    }

    /// The place to listen at.
    var endpoint: Endpoint { .tcp(host: host, port: port) }

    /// The address for clients, once the port is known.
    func url(boundPort: UInt16) -> String {
        "http://\(Endpoint.tcp(host: host, port: boundPort))"
    }

    /// Whether only this host can reach an address; nil if it is none.
    private static func isLoopback(_ host: String) -> Bool? {
        guard host != "localhost" else { return true }
        var four = in_addr()
        if unsafe inet_pton(AF_INET, host, &four) == 1 {
            return UInt32(bigEndian: four.s_addr) >> 24 == 127
        }
        var six = in6_addr()
        guard unsafe inet_pton(AF_INET6, host, &six) == 1 else { return nil }
        return unsafe withUnsafeBytes(of: six) {
            unsafe $0.dropLast().allSatisfy { $0 == 0 } && $0.last == 1
        }
    }
}
