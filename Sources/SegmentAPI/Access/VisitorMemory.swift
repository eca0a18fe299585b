import SegmentService

/// What is remembered of a connection's last request: the next one mostly says the same again, and
/// then need not be judged and read anew.
///
/// `@unchecked Sendable`: touched on the loop thread only, and while a request is let in.
final class VisitorMemory: @unchecked Sendable {
    /// A path that leads somewhere.
    final class Path {
        /// The place of the route among all.
        let place: Int
        /// The component that the route leaves open, decoded.
        let argument: String
        /// What it names, where that is a segment and will always be the same.
        var name: KnownName?

        init(place: Int, argument: String) {
            self.place = place
            self.argument = argument
        }
    }

    /// Whom the connection leads to.
    let api: SegmentAPI

    // None at first, which an empty one must not be taken for.
    private var host: [UInt8]?
    private var pathBytes: [UInt8] = []
    private var path: Path?
    private var sessionDigits: [UInt8] = []
    private var session: Session.ID?

    init(of api: SegmentAPI) { self.api = api }

    /// Whether a `Host` is the one that was allowed last.
    func knows(host field: Span<UInt8>) -> Bool {
        if let host { field.isEqual(to: host) } else { false }
    }

    /// Remembers a `Host` that is allowed.
    func remember(host field: Span<UInt8>) { host = Array(copying: field) }

    /// Reads the text of a session's id, which costs little if it is the one that was read last.
    func sessionID(_ digits: Span<UInt8>) -> Session.ID? {
        if let session, digits.isEqual(to: sessionDigits) { return session }
        guard let id = Session.ID(digits) else { return nil }
        sessionDigits = Array(copying: digits)
        session = id
        return id
    }

    /// Where a path leads, if it is the one that was remembered last.
    func path(_ bytes: Span<UInt8>) -> Path? { bytes.isEqual(to: pathBytes) ? path : nil }

    /// Remembers where a path leads.
    func remember(_ path: Path, at bytes: Span<UInt8>) {
        pathBytes.removeAll(keepingCapacity: true)
        pathBytes.append(copying: bytes)
        self.path = path
    }
}
