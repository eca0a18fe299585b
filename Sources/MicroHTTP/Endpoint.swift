public import Glibc

/// A place where a server listens.
public struct Endpoint: Sendable, Hashable, CustomStringConvertible {
    enum Kind: Hashable {
        case tcp(host: String, port: UInt16)
        case unix(path: String, mode: mode_t)
        case inherited(descriptor: CInt)
    }

    let kind: Kind

    /// A TCP port.
    ///
    /// - Parameters:
    ///   - host: An IPv4 or IPv6 address, or `localhost` for 127.0.0.1.
    ///   - port: 0 lets the kernel choose one; see ``Server/boundPort``.
    /// - Returns: The endpoint.
    public static func tcp(host: String, port: UInt16) -> Endpoint {
        Endpoint(kind: .tcp(host: host, port: port))
    }

    /// A Unix socket.
    ///
    /// A socket that nobody listens on any more is replaced; any other file is left alone.
    ///
    /// - Parameters:
    ///   - path: Where the socket is created. It is removed again when the server stops.
    ///   - mode: Its permissions, from the first moment on.
    /// - Returns: The endpoint.
    public static func unix(path: String, mode: mode_t = 0o600) -> Endpoint {
        Endpoint(kind: .unix(path: path, mode: mode))
    }

    /// A listening socket that came from whoever started this process.
    ///
    /// It must listen for streams, over TCP or as a Unix socket.
    /// The server closes `descriptor`, and does not shut the socket down: others may hold it too.
    public static func inherited(descriptor: CInt) -> Endpoint {
        Endpoint(kind: .inherited(descriptor: descriptor))
    }

    private init(kind: Kind) {
        self.kind = kind
    }

    /// Whether only this host can reach it: a loopback address or a Unix socket.
    ///
    /// An inherited socket is asked what it is bound to; what is no such socket reaches nobody.
    public var isLocal: Bool {
        switch kind {
        case .tcp(let host, let port): SocketAddress(host: host, port: port)?.isLoopback ?? false
        case .unix: true
        case .inherited(let descriptor):
            !Listener.isListening(descriptor)
                || SocketAddress.local(of: descriptor)?.isLoopback ?? true
        }
    }

    /// The TCP port; nil for a Unix socket, and for one that is yet to be inherited.
    public var port: UInt16? { if case .tcp(_, let port) = kind { port } else { nil } }

    /// The address, without the port; nil for a Unix socket.
    ///
    /// An inherited socket is asked what it is bound to.
    public var host: String? {
        switch kind {
        case .tcp(let host, _): host
        case .unix: nil
        case .inherited(let descriptor): SocketAddress.local(of: descriptor)?.endpoint.boundHost
        }
    }

    private var boundHost: String? { if case .tcp(let host, _) = kind { host } else { nil } }

    /// Reads an endpoint from its text form: `127.0.0.1:7070`, `[::1]:7070` or `unix:/path`.
    ///
    /// Fails if `text` has none of those forms.
    public init?(_ text: String) {
        if text.hasPrefix("unix:") {
            let path = text.dropFirst("unix:".count)
            guard !path.isEmpty else { return nil }
            self = .unix(path: String(path))
            return
        }
        guard let colon = text.lastIndex(of: ":"),
            let port = UInt16(text[text.index(after: colon)...])
        else { return nil }
        var host = text[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") {
            host = host.dropFirst().dropLast()
        } else if host.contains(":") {
            return nil
        }
        guard !host.isEmpty else { return nil }
        self = .tcp(host: String(host), port: port)
    }

    /// The endpoint as text, in a form that can be read back.
    public var description: String {
        switch kind {
        case .tcp(let host, let port): host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
        case .unix(let path, _): "unix:\(path)"
        case .inherited(let descriptor): "descriptor \(descriptor)"
        }
    }
}
