internal import Synchronization

/// How many connections a server has and had.
///
/// Give one to ``Server/Configuration/traffic`` and read it from any thread. The numbers are each
/// right by themselves; nothing is to be concluded from one about another.
public final class Traffic: Sendable {
    private let accepted = Atomic<Int>(0)
    private let closed = Atomic<Int>(0)
    private let refused = Atomic<Int>(0)

    /// Makes one for a server.
    public init() {}

    /// Connections that were ever accepted.
    public var acceptedCount: Int { accepted.load(ordering: .relaxed) }

    /// Connections that are open now.
    public var openCount: Int {
        // In this order, so that it never comes out below none.
        let closed = closed.load(ordering: .acquiring)
        return accepted.load(ordering: .relaxed) - closed
    }

    /// Connections that were closed for lack of room, whether or not their client was told.
    public var refusedCount: Int { refused.load(ordering: .relaxed) }

    func begin() { accepted.add(1, ordering: .relaxed) }

    func refuse() { refused.add(1, ordering: .relaxed) }

    func end() { closed.add(1, ordering: .releasing) }
}
