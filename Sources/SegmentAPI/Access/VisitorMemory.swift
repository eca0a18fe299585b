import SegmentService

/// What is remembered of a connection's last request: the next one mostly says the same again, and
/// then need not be judged and read anew.
///
/// `@unchecked Sendable`: touched on the loop thread only, and while a request is let in.
final class VisitorMemory: @unchecked Sendable {
    /// A path that leads somewhere.
    struct Path {
        /// The place of the route among all.
        let place: Int
        /// The component that the route leaves open, decoded.
        let argument: String
        /// What it names, where that is a segment and will always be the same.
        var name: KnownName?
    }

    private var host: [UInt8] = []
    private var pathBytes: [UInt8] = []
    private var path: Path?

    /// Whether a `Host` is the one that was allowed last.
    func knows(host field: Span<UInt8>) -> Bool { field.isEqual(to: host) }

    /// Remembers a `Host` that is allowed.
    func remember(host field: Span<UInt8>) { host = Array(copying: field) }

    /// Where a path leads, if it is the one that was remembered last.
    func path(_ bytes: Span<UInt8>) -> Path? { bytes.isEqual(to: pathBytes) ? path : nil }

    /// Remembers where a path leads.
    func remember(_ path: Path, at bytes: Span<UInt8>) {
        pathBytes.removeAll(keepingCapacity: true)
        pathBytes.append(copying: bytes)
        self.path = path
    }

    /// Remembers what the path names.
    func remember(_ name: KnownName) { path?.name = name }
}
