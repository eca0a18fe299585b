import Glibc
import MicroHTTP

/// A place to listen at, as the operator names it.
struct ListenAddress {
    /// Where the server listens unless told otherwise.
    static let standard = ListenAddress(
        endpoint: .tcp(host: "127.0.0.1", port: 7070), text: "127.0.0.1:7070")

    let endpoint: Endpoint
    /// As the operator wrote it.
    let text: String

    /// Whether only this host can reach it.
    var isLocal: Bool { endpoint.isLocal }

    private init(endpoint: Endpoint, text: String) {
        self.endpoint = endpoint
        self.text = text
    }

    /// A socket that the process was started with.
    init(inherited descriptor: CInt, name: String?) {
        endpoint = .inherited(descriptor: descriptor)
        text = name.map { "\($0) (descriptor \(descriptor))" } ?? "descriptor \(descriptor)"
    }

    /// Reads `127.0.0.1:7070`, `[::1]:7070`, `localhost:7070` or `unix:/path`.
    ///
    /// - Parameters:
    ///   - text: The text.
    ///   - mode: The permissions of a Unix socket.
    /// - Throws: ``BadValue`` when it is none of those.
    init(_ text: String, mode: mode_t) throws(BadValue) {
        if text.hasPrefix("unix:") {
            let path = text.dropFirst("unix:".count)
            guard path.hasPrefix("/") else { throw "has no absolute path behind unix:" }
            self.init(endpoint: .unix(path: String(path), mode: mode), text: text)
            return
        }
        let form: BadValue =
            "is not an address and a port, such as 127.0.0.1:7070 or [::1]:7070, nor unix:/path"
        guard let colon = text.lastIndex(of: ":") else { throw form }
        let digits = text[text.index(after: colon)...]
        guard digits.utf8.allSatisfy({ (48...57).contains($0) }), let port = UInt16(digits) else {
            throw "has no port from 0 to 65535 at its end"
        }
        let bracketed = text[..<colon]
        let isBracketed = bracketed.hasPrefix("[") && bracketed.hasSuffix("]")
        let host = String(isBracketed ? bracketed.dropFirst().dropLast() : bracketed)
        guard Self.isAddress(host), isBracketed == host.contains(":") else { throw form }
        self.init(endpoint: .tcp(host: host, port: port), text: text)
    }

    /// How clients name an endpoint that is being listened at.
    static func url(_ address: Endpoint, isSecure: Bool) -> String {
        address.port == nil ? "\(address)" : "\(isSecure ? "https" : "http")://\(address)"
    }

    private static func isAddress(_ host: String) -> Bool {
        var four = in_addr()
        var six = in6_addr()
        return unsafe host == "localhost" || inet_pton(AF_INET, host, &four) == 1
            || inet_pton(AF_INET6, host, &six) == 1
    }
}
