public import SharedMemory
import Synchronization

/// How much there is of everything at one moment.
public struct Census: Sendable {
    /// What there is of one kind of segment.
    public struct Holdings: Sendable {
        /// Segments that the service has attached.
        public var segments = 0
        /// Their bytes.
        public var byteCount = 0
        /// Attachments of all sessions to them.
        public var attachments = 0
    }

    /// Sessions.
    public var sessions = 0
    /// What the service holds, in the order of ``SegmentKind``.
    public var holdings = SegmentKind.allCases.map { _ in Holdings() }
    /// Locks that sessions hold.
    public var locksHeld = 0
    /// Requests that wait for a lock.
    public var lockWaiters = 0
}

extension SegmentService {
    /// Counts what the service has.
    public var census: Census {
        registry.withLock { registry in
            var census = Census()
            census.sessions = registry.sessions.count
            for entry in registry.entries.values {
                let kind = SegmentKind(entry.name).rawValue
                census.holdings[kind].segments += 1
                census.holdings[kind].byteCount += entry.byteCount
                census.holdings[kind].attachments += entry.sessionCount
                census.lockWaiters += entry.queue.waitingCount
                if entry.queue.holder != nil { census.locksHeld += 1 }
            }
            return census
        }
    }

    /// The segments of the host, whoever made them, as they are just now.
    public var hostSegments: [SegmentDescription] {
        var host = HostSegments(environment: configuration.environment)
        return host.all()
    }
}
