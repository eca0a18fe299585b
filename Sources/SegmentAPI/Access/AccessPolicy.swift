import MicroHTTP
public import SharedMemory
import Synchronization

/// Who may do what: the one place that lets a request in or keeps it out.
///
/// A request is looked at from the outside in. Does it mean this server (`Host`), does it come from
/// a page of somebody else's (`Origin`, `Sec-Fetch-Site`), whose token has it, is that good for
/// what the route needs, and may the client know of the segment at all?
public final class AccessPolicy: Sendable {
    private let hosts: HostRules
    private let allowed: SegmentPatterns?
    private let denied: SegmentPatterns?
    private let isReadOnly: Bool
    /// Whether every segment is there for clients.
    private let isOpen: Bool
    private let environment: KeyEnvironment
    /// Whether a token is needed at all.
    private let needsToken: Bool
    private let tokens: Mutex<TokenSet?>

    /// Makes a policy.
    ///
    /// - Parameters:
    ///   - hosts: By which names clients may call the server.
    ///   - tokens: The tokens of those who may come in; `nil` lets everybody in.
    ///   - allowed: Which segments there are for clients; empty for all.
    ///   - denied: Which there are not, allowed or not.
    ///   - isReadOnly: Whether nobody may change anything.
    ///   - environment: Says where Qt puts key files.
    public init(
        hosts: HostRules = .loopback, tokens: TokenSet? = nil, allowed: [Glob] = [],
        denied: [Glob] = [],
        isReadOnly: Bool = false, environment: KeyEnvironment
    ) {
        self.hosts = hosts
        needsToken = tokens != nil
        self.tokens = Mutex(tokens)
        self.allowed =
            allowed.isEmpty ? nil : SegmentPatterns(allowed, environment: environment)
        self.denied = denied.isEmpty ? nil : SegmentPatterns(denied, environment: environment)
        self.isReadOnly = isReadOnly
        isOpen = allowed.isEmpty && denied.isEmpty
        self.environment = environment
    }

    /// Lets other tokens in from now on, and no more those there were; who lets everybody in goes on
    /// doing so.
    public func replace(_ tokens: TokenSet) { self.tokens.withLock { $0 = tokens } }

    // MARK: Where a request comes from

    /// Refuses a request that means another server, or that a page of another origin made.
    ///
    /// Over a Unix socket neither can be: no browser gets there.
    func requireOwnOrigin(_ exchange: Exchange, _ memory: VisitorMemory) throws(Problem) {
        guard !exchange.isOverUnixSocket else { return }
        // HTTP/1.0 knows no Host; what speaks it is no browser.
        let isOurs = exchange.withHeader(.host) { host, _ in
            guard let host, !memory.knows(host: host) else { return true }
            guard hosts.allow(host) else { return false }
            memory.remember(host: host)
            return true
        }
        guard isOurs else { throw .misdirected }
        let (isOwnOrigin, hasOrigins) = exchange.withHeader(.origin) { origin, isRepeated in
            guard let origin else { return (true, false) }
            let isOwn = exchange.withHeader(.host) { host, _ in
                if let host { Self.isOrigin(origin, of: host) } else { false }
            }
            return (isOwn, isRepeated)
        }
        let (isOwnSite, hasSites) = exchange.withHeader(.secFetchSite) { site, isRepeated in
            if let site { (Self.isOwnSite(site), isRepeated) } else { (true, false) }
        }
        guard isOwnOrigin, isOwnSite else { throw .foreignOrigin }
        if hasOrigins { try requireOnce(.origin, in: exchange) }
        if hasSites { try requireOnce(.secFetchSite, in: exchange) }
    }

    /// Refuses a header that says two things, of which only the first would be looked at.
    private func requireOnce(_ name: HeaderName, in exchange: Exchange) throws(Problem) {
        guard exchange.headerCount(name) <= 1 else {
            throw .invalidRequest(
                "The header \(name) may be sent only once.", parameter: name.description)
        }
    }

    /// Whether an origin is that of the host that the request names: any other is somebody else's,
    /// `null` included.
    private static func isOrigin(_ origin: Span<UInt8>, of host: Span<UInt8>) -> Bool {
        for scheme in ["http://", "https://"] {
            let length = scheme.utf8.count
            if origin.count == length + host.count, origin.hasPrefix(scheme),
                (0..<host.count).allSatisfy({ origin[length + $0].isSame(host[$0]) })
            {
                return true
            }
        }
        return false
    }

    /// Whether a page of ours made the request, or a person who typed the address.
    ///
    /// Other ports of one host are `same-site`, and not ours.
    private static func isOwnSite(_ value: Span<UInt8>) -> Bool {
        ["same-origin", "none"].contains { value.count == $0.utf8.count && value.hasPrefix($0) }
    }

    // MARK: Who sends it

    /// Finds out who sends a request.
    ///
    /// - Throws: ``Problem`` 401 where there are tokens and the request has none of them.
    func caller(of exchange: Exchange) throws(Problem) -> Caller {
        guard needsToken, let tokens = tokens.withLock({ $0 }) else { return .anybody }
        try requireOnce(.authorization, in: exchange)
        let (hasToken, caller) = exchange.withHeader(.authorization) {
            field, _ -> (Bool, Caller?) in
            guard let field else { return (false, nil) }
            return (true, Self.caller(authorizedBy: field, among: tokens))
        }
        guard let caller else { throw .unauthorized(hasToken: hasToken) }
        return caller
    }

    private static func caller(authorizedBy field: Span<UInt8>, among tokens: TokenSet) -> Caller? {
        guard field.hasPrefix("bearer ") else { return nil }
        var start = 7
        while start < field.count, field[start] == UInt8(ascii: " ") { start += 1 }
        return tokens.caller(presenting: field.extracting(start..<field.count))
    }

    /// Refuses a caller whose role does not include the one that is needed.
    func require(_ role: Role, of caller: Caller) throws(Problem) {
        guard caller.role >= role else { throw .roleNeeded(role) }
        guard !isReadOnly || role == .inspect else { throw .readOnlyServer }
    }

    // MARK: What it may know of

    /// Whether a caller is shown every segment: then no name needs to be looked at.
    func showsEverything(to caller: Caller) -> Bool {
        isOpen && caller.segments == nil
    }

    /// Whether a caller may know of a segment.
    func shows(_ name: SegmentName, to caller: Caller) -> Bool {
        do throws(Problem) {
            try require(name, shownTo: caller)
            return true
        } catch { return false }
    }

    /// Refuses a caller who may not know of a segment, whether it is there or not.
    func require(_ name: SegmentName, shownTo caller: Caller) throws(Problem) {
        guard !showsEverything(to: caller) else { return }
        let texts = SegmentTexts(name, environment: environment)
        guard allowed?.fit(texts) ?? true, !(denied?.mayFit(texts) ?? false) else {
            throw .hidden(name)
        }
        guard caller.segments?.fit(texts) ?? true else { throw .outsideToken(name) }
    }
}

extension Span where Element == UInt8 {
    /// Whether the bytes begin with a text in small letters, but for capitals.
    fileprivate func hasPrefix(_ text: String) -> Bool {
        guard count >= text.utf8.count else { return false }
        var index = 0
        for byte in text.utf8 {
            guard self[index].isSame(byte) else { return false }
            index += 1
        }
        return true
    }
}

extension UInt8 {
    /// Whether two characters are the same, but for capitals.
    fileprivate func isSame(_ other: UInt8) -> Bool {
        self == other || self | 0x20 == other | 0x20 && (97...122).contains(self | 0x20)
    }
}
