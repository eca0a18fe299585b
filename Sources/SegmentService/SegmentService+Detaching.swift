public import SharedMemory
import Synchronization

extension SegmentService {
    /// Detaches a session from a segment, and destroys the segment if nobody else holds it.
    ///
    /// The session's own lock is given up. A lock that another holds is waited for, as Qt does.
    ///
    /// - Parameters:
    ///   - name: The segment.
    ///   - session: Who detaches.
    ///   - wait: How long to wait for the lock, in milliseconds.
    ///   - client: Who waits.
    ///   - completion: Called with the segment's name and whether it was destroyed, or
    ///     ``ServiceError``: `.locked` when the wait ran out, and nothing has changed; `.notAttached`,
    ///     `.sessionGone`.
    /// - Returns: The wait, where there is one.
    public func detach(
        _ name: SegmentName, session: Session.ID, wait: Int64, client: any WaitingClient,
        completion:
            @escaping @Sendable (Result<(segment: String, destroyed: Bool), ServiceError>) -> Void
    ) -> Wait? {
        do throws(ServiceError) {
            try renew(session)
            lookAtName(of: try attached(session, to: name) { $1.entry })
            let (record, entry, isHolder) = try attached(session, to: name) {
                (registry, record) throws(ServiceError) -> (AttachmentRecord, Entry.Outline, Bool)
                in
                guard let entry = registry.entries[record.entry]?.outline else { throw .gone }
                let holder = registry.entries[record.entry]?.queue.holder
                let isHolder = holder?.session == session
                if let holder, isHolder {
                    metrics.end(holder)
                    registry.endHold(record.entry)
                }
                return (record, entry, isHolder)
            }
            let segment = entry.title
            guard let lock = entry.lock, isHolder || lock.exists else {
                let done = dropAttachment(record, session: session, address: entry.address)
                completion(.success((segment, done.destroyed)))
                return nil
            }
            if isHolder {
                let isIntact = lock.isIntact
                let done = dropAttachment(record, session: session, address: entry.address)
                if done.lock == .held {
                    if !isIntact { lock.unlock() }
                    drive(record.entry, lock, isHeld: isIntact, turns: 1)
                }
                completion(.success((segment, done.destroyed)))
                return nil
            }
            let waiter = LockWaiter(
                session: session, client: client,
                purpose: .perform { [self] result in
                    if case .failure(let error) = result {
                        completion(.failure(error))
                        return .held
                    }
                    let done = dropAttachment(record, session: session, address: entry.address)
                    completion(.success((segment, done.destroyed)))
                    return done.lock
                })
            return enqueue(waiter, at: record.entry, lock, wait: wait)
        } catch {
            completion(.failure(error))
            return nil
        }
    }

    /// Takes an attachment from a session that stays, and the segment down if it was the last.
    ///
    /// The caller has the lock, where there is one.
    private func dropAttachment(
        _ record: AttachmentRecord, session: Session.ID, address: KernelAddress
    ) -> (destroyed: Bool, lock: LockAfterwards) {
        let waiters = registry.withLock { registry -> [LockWaiter]? in
            guard registry.sessions[session]?.attachments[address]?.entry == record.entry else {
                return nil
            }
            registry.sessions[session]?.forget(address)
            registry.release(record)
            return registry.entries[record.entry]?.queue.removeAll(of: session) ?? []
        }
        guard let waiters else { return (false, .held) }
        for waiter in waiters {
            cancelDeadline(of: waiter)
            waiter.fail(ServiceError(.notAttached, "the session detached meanwhile"))
        }
        return takeDown(record.entry, because: .detached)
    }

    /// Takes the attachment of a session that has ended.
    ///
    /// Nothing waits: where the lock is not to be had at once, the rest is done when it is.
    func leave(_ record: AttachmentRecord, session: Session.ID, because end: SessionEnd)
        -> Release
    {
        lookAtName(of: record.entry)
        let found = registry.withLock { registry -> (Entry.Outline, isHolder: Bool)? in
            registry.release(record)
            guard let entry = registry.entries[record.entry]?.outline else { return nil }
            registry.entries[record.entry]?.endedWithLook = false
            let holder = registry.entries[record.entry]?.queue.holder
            let isHolder = holder?.session == session
            if let holder, isHolder {
                metrics.end(holder)
                registry.endHold(record.entry)
            }
            return (entry, isHolder)
        }
        guard let (entry, isHolder) = found else {
            return Release(segment: "", unlocked: false, destroyed: false)
        }
        let segment = entry.title
        var destroyed = false
        if isHolder, let lock = entry.lock {
            let isIntact = lock.isIntact
            let done = takeDown(record.entry, because: SegmentEnd(end))
            destroyed = done.destroyed
            if done.lock == .held {
                if !isIntact { lock.unlock() }
                drive(record.entry, lock, isHeld: isIntact, turns: 1)
            }
        } else {
            destroyed = takeDownWhenPossible(record.entry, entry.lock, because: SegmentEnd(end))
        }
        return Release(segment: segment, unlocked: isHolder, destroyed: destroyed)
    }

    /// Takes an entry down that nobody uses, under its lock; now if that is free, otherwise as soon
    /// as it is.
    ///
    /// - Returns: Whether the segment was destroyed at once.
    @discardableResult
    func takeDownWhenPossible(
        _ id: EntryID, _ lock: SegmentLock?, because reason: SegmentEnd
    ) -> Bool {
        let isDue = registry.withLock { registry in
            guard let entry = registry.entries[id] else { return false }
            return entry.isUnused && !entry.queue.hasErrand
        }
        guard isDue else { return false }
        guard let lock, lock.exists else { return takeDown(id, because: reason).destroyed }
        let answer = Answer()
        let waiter = LockWaiter(
            session: nil, client: nil, isClient: false,
            purpose: .perform { [self] result in
                if case .failure = result {
                    // The semaphore cannot be used at all: decided without it.
                    answer.set(takeDown(id, because: reason).destroyed)
                    return .held
                }
                let done = takeDown(id, because: reason)
                answer.set(done.destroyed)
                return done.lock
            })
        _ = enqueue(waiter, at: id, lock, wait: nil)
        return answer.value
    }

    /// Decides whether an entry that nobody uses was the last reference to its segment, destroys
    /// the segment if so, and lets go of the memory.
    ///
    /// The caller has the lock, where there is one.
    ///
    /// While a slow client still drains an answer from the mapping, the kernel goes on counting
    /// us; then the question is asked again later.
    @discardableResult
    func takeDown(_ id: EntryID, because reason: SegmentEnd) -> (
        destroyed: Bool, lock: LockAfterwards
    ) {
        // The entry's reference moves here, so that it is the only one unless somebody reads.
        var last: SharedSegment?
        let closing = registry.withLock {
            registry -> (
                name: SegmentName, lock: SegmentLock?, ending: LastDetach, remnant: Remnant?
            )? in
            guard let entry = registry.entries[id]?.outline,
                let ending = registry.entries[id]?.ending,
                registry.entries[id]?.sessionCount == 0,
                registry.entries[id]?.afterClosing == nil
            else { return nil }
            registry.entries[id]?.afterClosing = []
            registry.recordFlags(of: id)  // with a semaphore that was found only now
            last = registry.entries[id]?.segment
            registry.entries[id]?.segment = nil
            return (entry.name, entry.lock, ending, registry.entries[id]?.remnant)
        }
        guard let closing else { return (false, .held) }
        var destroyed = false
        if let remnant = closing.remnant {
            destroyed = closing.ending == .destroy && remnant.removeUnlessUsed()
        } else if closing.ending == .destroy {
            destroyed = (try? last?.segment.removeIfLast()) ?? false
        } else {
            last?.segment.settle()
        }
        if destroyed {
            closing.lock?.remove()
            note(end: reason, of: closing.name)
        }

        let isRead = last != nil && !isKnownUniquelyReferenced(&last)
        let staysOpen = isRead && !destroyed
        // Unmapped while the lock is still ours, and before anybody else here opens the segment,
        // who would take this mapping for another process's.
        if !staysOpen { last = nil }
        let (actions, waiters) = registry.withLock {
            registry -> ([@Sendable () -> Void], [LockWaiter]) in
            let actions = registry.entries[id]?.afterClosing ?? []
            guard staysOpen else { return (actions, registry.remove(id)) }
            registry.entries[id]?.segment = last
            registry.entries[id]?.afterClosing = nil
            return (actions, [])
        }
        last = nil
        if !staysOpen, !destroyed { closing.lock?.leave() }
        if staysOpen {
            timer.schedule(at: .now.advanced(byMilliseconds: 20)) { [weak self] in
                self?.takeDownWhenPossible(id, closing.lock, because: reason)
            }
        }
        for waiter in waiters {
            cancelDeadline(of: waiter)
            waiter.fail(.gone)
        }
        for action in actions { action() }
        return (destroyed, destroyed ? .gone : .held)
    }
}

/// A yes that may come while somebody looks for it.
private final class Answer: Sendable {
    private let flag = Atomic(false)
    var value: Bool { flag.load(ordering: .acquiring) }
    func set(_ value: Bool) { flag.store(value, ordering: .releasing) }
}

extension Entry {
    /// Whether no session and no request needs it any more.
    var isUnused: Bool { sessionCount == 0 && peekCount == 0 }

    /// Whether a thread is at work to let go of it, or waits for its lock to do so.
    var isBeingLetGo: Bool {
        guard isUnused else { return false }
        if afterClosing != nil || !queue.isEmpty { return true }
        if case .busy = queue.phase { return true }
        return false
    }
}

extension Registry {
    /// Counts one attachment less.
    mutating func release(_ record: AttachmentRecord) {
        entries[record.entry]?.sessionCount -= 1
        entries[record.entry]?.ending = record.onLastDetach
        recordFlags(of: record.entry)
        state?.release(record.slot, .attachment)
    }
}
