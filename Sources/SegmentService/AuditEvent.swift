/// Something that an operator may have to account for later: what became of segments, who used
/// force, who wrote where nobody asked it to, and who was turned away.
public struct AuditEvent: Sendable {
    /// The kinds of event, each with the word that logs use.
    public enum Kind: String, Sendable, CaseIterable {
        /// A segment was created.
        case create
        /// A segment was destroyed; ``AuditEvent/reason`` tells by what.
        case destroy
        /// Force was used: `delete` or `unlock` is the reason.
        case force
        /// Bytes were written to a segment that this service did not create, or without a session.
        case foreignWrite = "foreign-write"
        /// A request was refused: `host`, `origin`, `token`, `role`, `read-only`, `segment` (the
        /// token is limited to others) or `hidden` is the reason.
        case refuse
    }

    /// What happened.
    public var kind: Kind
    /// Why, in one word.
    public var reason: String?
    /// The text form of the name of the segment concerned.
    public var segment: String?
    /// How many bytes were created or written.
    public var byteCount: Int?
    /// The session concerned, as far as it may be shown.
    public var session: String?
    /// Where the request came from: an address and a port, or `unix`.
    public var remote: String?
    /// The line of the token file whose token the request had.
    public var tokenLine: Int?
    /// The method of the request.
    public var method: String?
    /// The path of the request with its open components in braces.
    public var route: String?
    /// The id of the request.
    public var requestID: String?

    /// Makes an event of which nothing else is known.
    public init(_ kind: Kind) { self.kind = kind }
}

extension AuditEvent {
    /// The end of a segment.
    init(endOf segment: String, because end: SegmentEnd) {
        self.init(.destroy)
        self.segment = segment
        reason =
            switch end {
            case .detached, .peeked: "last-reference"
            case .sessionEnded: "session-ended"
            case .sessionExpired: "expiry"
            case .sessionDisconnected: "disconnect"
            case .shutdown: "shutdown"
            case .removed: "removed"
            case .forced: "force"
            }
    }
}
