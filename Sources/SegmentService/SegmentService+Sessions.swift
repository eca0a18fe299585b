public import SharedMemory
import Synchronization

/// What the end of a session did to one segment.
public struct Release: Sendable {
    /// The text form of the segment's name.
    public let segment: String
    /// Whether the session had held the lock.
    public let unlocked: Bool
    /// Whether the segment went with the session.
    ///
    /// False as well where that waits for a lock.
    public let destroyed: Bool
}

extension SegmentService {
    /// Opens a session.
    ///
    /// - Parameters:
    ///   - name: What the client calls itself.
    ///   - timeToLive: In milliseconds, within ``Session/timesToLive``.
    ///   - binding: What its life depends on.
    ///   - process: The process that it is bound to, for ``Session/Binding/process``.
    /// - Returns: The session.
    /// - Throws: ``ServiceError``: `.tooManySessions`, `.shuttingDown`, and `.outOfResources` where
    ///   there is no room to record it.
    public func openSession(
        name: String?, timeToLive: Int64 = Session.defaultTimeToLive, binding: Session.Binding,
        process: BoundProcess? = nil
    ) throws(ServiceError) -> Session {
        let id = Session.ID()
        let now = MonotonicInstant.now
        let wall = WallTime.now
        let limit = configuration.sessionLimit
        let prepared = try prepare(
            SessionState(
                id: id, name: name, binding: binding, timeToLive: timeToLive, createdAt: wall,
                expiresAt: process == nil
                    ? now.advanced(byMilliseconds: timeToLive) : .distantFuture,
                process: process?.identity))
        let session: Session?
        do throws(ServiceError) {
            session = try registry.withLock { (registry) throws(ServiceError) -> Session? in
                guard !registry.isDraining else { throw .shuttingDown }
                guard registry.sessions.count < limit else {
                    throw ServiceError(.tooManySessions, "there are \(limit) sessions already")
                }
                let record = SessionRecord(
                    name: name, binding: binding, timeToLive: timeToLive, createdAt: wall,
                    expiresAt: now.advanced(byMilliseconds: timeToLive))
                if let process {
                    record.holdCount = 1
                    record.process = process.identity
                }
                if let prepared {
                    record.slot = prepared.slot
                    state?.beat(now)
                    state?.commit(prepared)
                }
                registry.sessions[id] = record
                return registry.describe(id, now: now, wall: wall)
            }
        } catch {
            if let prepared { state?.discard(prepared) }
            throw error
        }
        keepBeating()
        metrics.sessionsOpened.add()
        scheduleExpiry(of: id, at: now.advanced(byMilliseconds: timeToLive))
        if let process { bind(id, to: process) }
        guard let session else { preconditionFailure("described as it was made") }
        return session
    }

    /// Has the exit of a process end a session, which counts the process as a hold already.
    func bind(_ id: Session.ID, to process: BoundProcess) {
        let key = processes.watch(process, for: id)
        let isThere = registry.withLock { registry in
            registry.sessions[id]?.onEnd.append { [processes] in processes.forget(key, for: id) }
            return registry.sessions[id] != nil
        }
        if !isThere { processes.forget(key, for: id) }
    }

    func endBound(_ id: Session.ID) { _ = try? endSession(id, because: .disconnected) }

    /// Renews a session that a request names.
    ///
    /// Whoever serves requests calls this for each of them that names one, before anything else.
    ///
    /// - Parameter id: The secret.
    /// - Throws: ``ServiceError`` with `.sessionGone`.
    public func renew(_ id: Session.ID) throws(ServiceError) {
        let now = MonotonicInstant.now
        try registry.withLock { (registry) throws(ServiceError) in
            try registry.renew(id, now: now)
        }
    }

    /// Tells what a session is and has, and renews it.
    ///
    /// - Parameter id: The secret.
    /// - Returns: The session.
    /// - Throws: ``ServiceError`` with `.sessionGone`.
    public func session(_ id: Session.ID) throws(ServiceError) -> Session {
        let now = MonotonicInstant.now
        let wall = WallTime.now
        try renew(id)
        lookAtNames(
            of: registry.withLock { $0.sessions[id]?.attachments.values.map(\.entry) } ?? [])
        return try registry.withLock { (registry) throws(ServiceError) -> Session in
            guard let session = registry.describe(id, now: now, wall: wall) else {
                throw .sessionGone
            }
            return session
        }
    }

    /// All sessions, in the order of their opening.
    public var sessions: [Session] {
        let now = MonotonicInstant.now
        let wall = WallTime.now
        lookAtNames(of: registry.withLock { $0.entries.filter { $1.sessionCount > 0 }.map(\.key) })
        return registry.withLock { registry in
            registry.sessions.keys.compactMap { registry.describe($0, now: now, wall: wall) }
        }
        .sorted {
            ($0.createdAt.seconds, $0.createdAt.nanoseconds)
                < ($1.createdAt.seconds, $1.createdAt.nanoseconds)
        }
    }

    /// Ends a session as a process exits: its locks are given back, then every attachment goes.
    ///
    /// A segment whose lock another process holds is left to the background; nothing waits here.
    ///
    /// - Parameter id: The secret.
    /// - Returns: What that did to each segment.
    /// - Throws: ``ServiceError`` with `.sessionGone`.
    @discardableResult
    public func endSession(_ id: Session.ID) throws(ServiceError) -> [Release] {
        try endSession(id, because: .deleted)
    }

    @discardableResult
    func endSession(
        _ id: Session.ID, because reason: SessionEnd,
        if mayEnd: (SessionRecord) -> Bool = { _ in true }
    ) throws(ServiceError) -> [Release] {
        let (record, waiters) = try registry.withLock {
            (registry) throws(ServiceError) -> (SessionRecord, [LockWaiter]) in
            guard let record = registry.sessions[id], mayEnd(record) else { throw .sessionGone }
            registry.remove(id)
            registry.state?.release(record.slot, .session)
            var waiters: [LockWaiter] = []
            for attachment in record.attachments.values {
                waiters += registry.entries[attachment.entry]?.queue.removeAll(of: id) ?? []
            }
            return (record, waiters)
        }
        metrics.sessionsEnded[reason].add()
        for waiter in waiters {
            cancelDeadline(of: waiter)
            waiter.fail(.sessionGone)
        }
        for action in record.onEnd { action() }
        return record.attachments.values.sorted { $0.entry < $1.entry }
            .map { leave($0, session: id, because: reason) }
    }

    // MARK: Holding

    /// Keeps a session from expiring while a stream to its client is open.
    ///
    /// - Parameters:
    ///   - id: The secret.
    ///   - onEnd: Called if the session ends meanwhile.
    /// - Throws: ``ServiceError`` with `.sessionGone`.
    public func beginHold(_ id: Session.ID, onEnd: @escaping @Sendable () -> Void)
        throws(ServiceError)
    {
        let now = MonotonicInstant.now
        try registry.withLock { (registry) throws(ServiceError) in
            try registry.renew(id, now: now)
            registry.sessions[id]?.holdCount += 1
            if let slot = registry.sessions[id]?.slot {
                registry.state?.setExpiry(.distantFuture, of: slot)
            }
            registry.sessions[id]?.onEnd.append(onEnd)
        }
    }

    /// Notes that a stream to a session's client closed.
    ///
    /// The last one to close ends a session that is bound to it; another lives for its time to live
    /// from now.
    ///
    /// - Parameter id: The secret.
    public func endHold(_ id: Session.ID) {
        let now = MonotonicInstant.now
        let left = registry.withLock { registry -> (Session.Binding, watchAt: MonotonicInstant?)? in
            guard let record = registry.sessions[id] else { return nil }
            record.holdCount -= 1
            record.renew(now: now, registry.state)
            guard record.holdCount == 0 else { return nil }
            // No stream is left that would have to end with the session.
            record.onEnd = []
            defer { record.isWatched = true }
            return (record.binding, record.isWatched ? nil : record.expiresAt)
        }
        guard let (binding, watchAt) = left else { return }
        switch binding {
        case .connection: _ = try? endSession(id, because: .disconnected)
        // What is bound to a process has its hold as long as it lives, unless the process could
        // not be found again.
        case .timeToLive, .process:
            if let watchAt { scheduleExpiry(of: id, at: watchAt) }
        }
    }

    /// Calls an action after some time, on the service's timer; it must not block.
    ///
    /// - Parameters:
    ///   - milliseconds: How long from now.
    ///   - action: What to do.
    package func schedule(
        afterMilliseconds milliseconds: Int64, _ action: @escaping @Sendable () -> Void
    ) {
        timer.schedule(at: .now.advanced(byMilliseconds: milliseconds), action)
    }

    // MARK: Expiry

    // A request only moves the session's own instant; the timer finds that out when it comes.
    func scheduleExpiry(of id: Session.ID, at instant: MonotonicInstant) {
        timer.schedule(at: instant) { [weak self] in self?.expire(id) }
    }

    private func expire(_ id: Session.ID) {
        let now = MonotonicInstant.now
        guard let later = registry.withLock({ $0.nextLook(at: id, now: now) }) else { return }
        guard later <= now else {
            scheduleExpiry(of: id, at: later)
            return
        }
        let isEnded = (try? endSession(id, because: .expired) { $0.hasExpired(now) }) != nil
        if !isEnded { expire(id) }  // a request came in between, and renewed it
    }

    // MARK: Ending the service

    /// Takes no more sessions, fails every wait, and ends all sessions.
    ///
    /// - Parameter deadline: How long segments may take whose lock another process holds.
    public func shutDown(by deadline: MonotonicInstant) {
        let (sessions, waiters) = registry.withLock { registry -> ([Session.ID], [LockWaiter]) in
            registry.isDraining = true
            var waiters: [LockWaiter] = []
            for id in registry.entries.keys {
                waiters += registry.entries[id]?.queue.removeAllClients() ?? []
            }
            return (Array(registry.sessions.keys), waiters)
        }
        for waiter in waiters {
            cancelDeadline(of: waiter)
            waiter.fail(.shuttingDown)
        }
        for id in sessions { _ = try? endSession(id, because: .shutdown) }
        while MonotonicInstant.now < deadline,
            registry.withLock({ $0.entries.values.contains(where: \.isBeingLetGo) })
        {
            pause(microseconds: 2_000)
        }
        timer.stop()
        processes.stop()
    }

    /// Whether new work is refused.
    public var isDraining: Bool { registry.withLock { $0.isDraining } }
}
