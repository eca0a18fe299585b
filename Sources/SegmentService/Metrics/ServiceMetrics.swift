import SharedMemory

/// What the service counts as it works.
public final class ServiceMetrics: Sendable {
    /// Sessions that were opened.
    public let sessionsOpened = Counter()
    /// Sessions that ended, by why.
    public let sessionsEnded = Counters<SessionEnd>()
    /// Segments that were created here, by the type of their key.
    public let segmentsCreated = Counters<SegmentKind>()
    /// Segments that were destroyed here, by what brought that about.
    public let segmentsDestroyed = Counters<SegmentEnd>()
    /// How long whoever got a lock had waited for it.
    public let lockWait = Histogram()
    /// How long sessions held their locks.
    public let lockHold = Histogram()
    /// Waits for a lock that ran out.
    public let lockTimeouts = Counter()
    /// Locks that were taken away from their holder: broken, or their semaphore made anew.
    public let locksLost = Counter()

    init() {}
}

/// Why a session ended.
public enum SessionEnd: Int, Sendable, CaseIterable {
    /// A request asked for it.
    case deleted
    /// Nobody had named it for its time to live.
    case expired
    /// What it was bound to went.
    case disconnected
    /// The server was stopped.
    case shutdown
}

/// What brought the end of a segment about.
public enum SegmentEnd: Int, Sendable, CaseIterable {
    /// The last attachment was given up.
    case detached
    /// The last session that was attached was ended by a request.
    case sessionEnded
    /// The last session that was attached expired.
    case sessionExpired
    /// The last session that was attached lost what it was bound to.
    case sessionDisconnected
    /// The server was stopped, and the last session with it.
    case shutdown
    /// Its last user left while a request without a session looked at it.
    case peeked
    /// A request to remove it, which nobody used.
    case removed
    /// A request to remove it, whoever used it.
    case forced
}

extension SegmentEnd {
    /// The end of a segment that the end of a session brought about.
    init(_ end: SessionEnd) {
        self =
            switch end {
            case .deleted: .sessionEnded
            case .expired: .sessionExpired
            case .disconnected: .sessionDisconnected
            case .shutdown: .shutdown
            }
    }
}

/// The two kinds of segment.
public enum SegmentKind: Int, Sendable, CaseIterable {
    /// System V.
    case systemV
    /// POSIX.
    case posix

    init(_ name: SegmentName) {
        if case .key(let key) = name, key.type == .posix { self = .posix } else { self = .systemV }
    }
}

extension ServiceMetrics {
    /// Counts a wait that got the lock.
    func end(_ waiter: LockWaiter) { lockWait.record(since: waiter.since) }

    /// Counts a hold that is over.
    func end(_ holder: LockHolder) { lockHold.record(since: holder.since) }
}

extension Histogram {
    fileprivate func record(since start: MonotonicInstant) {
        let duration = MonotonicInstant.now.nanoseconds - start.nanoseconds
        record(nanoseconds: UInt64(max(0, duration)))
    }
}
