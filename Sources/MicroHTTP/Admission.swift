internal import Synchronization

/// Counts the connections of a server, in all and for each client, and says which may stay.
///
/// Shared by all loops. It is asked when a connection comes and when it goes, never in between.
final class Admission: Sendable {
    enum Verdict {
        /// It is served.
        case admitted
        /// Its first request is answered with the reason for which there will be no second.
        case refused(RequestFault)
        /// It is closed without a word.
        case turnedAway
    }

    private struct Counts {
        var admitted = 0
        var refused = 0
        var byOrigin: [Peer.Origin: Int] = [:]
    }

    private let limit: Int
    private let limitByOrigin: Int
    private let counts = Mutex(Counts())
    private let descriptors = Mutex(())

    /// How many clients may be told at a time that there is no room.
    static let refusalLimit = 64

    init(limit: Int, limitByOrigin: Int) {
        self.limit = limit
        self.limitByOrigin = limitByOrigin
    }

    /// Does something that takes a descriptor, while no other loop does.
    ///
    /// When the last is put to use for turning a client away, another loop would take it for one of
    /// its own, for good.
    func alone<Result>(_ body: () -> Result) -> Result { descriptors.withLock { _ in body() } }

    func judge(_ peer: Peer) -> Verdict {
        let origin = peer.origin
        return counts.withLock { counts in
            let own = counts.byOrigin[origin] ?? 0
            guard counts.admitted >= limit || own >= limitByOrigin else {
                counts.admitted += 1
                counts.byOrigin[origin] = own + 1
                return .admitted
            }
            guard counts.refused < Self.refusalLimit else { return .turnedAway }
            counts.refused += 1
            return .refused(
                own >= limitByOrigin
                    ? .tooManyConnectionsOfClient(limit: limitByOrigin)
                    : .tooManyConnections(limit: limit))
        }
    }

    /// Forgets a connection that was not turned away.
    func forget(_ peer: Peer, wasAdmitted: Bool) {
        let origin = peer.origin
        counts.withLock { counts in
            guard wasAdmitted else {
                counts.refused -= 1
                return
            }
            counts.admitted -= 1
            guard let own = counts.byOrigin[origin], own > 1 else {
                counts.byOrigin[origin] = nil
                return
            }
            counts.byOrigin[origin] = own - 1
        }
    }
}
