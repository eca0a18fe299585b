public import SharedMemory
import Synchronization

/// A request that waits for a lock, for whoever has to take it back.
public struct Wait: Sendable {
    /// Ends the wait; the completion is not called.
    ///
    /// For a client that hung up.
    public let cancel: @Sendable () -> Void
}

extension SegmentService {
    /// Takes the lock of a segment for a session that is attached to it.
    ///
    /// - Parameters:
    ///   - name: The segment.
    ///   - session: Who is to hold it. If it does already, that is the answer, token and all.
    ///   - wait: How long to wait for it, in milliseconds.
    ///   - client: Who waits.
    ///   - completion: Called with the grant or ``ServiceError``: `.locked` when the wait ran out,
    ///     `.notAttached`, `.lockUnsupported`, `.sessionGone`, `.shuttingDown`.
    /// - Returns: The wait, where there is one.
    public func lock(
        _ name: KnownName, session: Session.ID, wait: Int64, client: any WaitingClient,
        completion: @escaping @Sendable (Result<LockGrant, ServiceError>) -> Void
    ) -> Wait? {
        let waiter = LockWaiter(session: session, client: client, purpose: .hold(completion))
        do throws(ServiceError) {
            let (id, lock, grant) = try attached(session, to: name.name, known: name) {
                (registry, record) throws(ServiceError) -> (EntryID, SegmentLock, LockGrant?) in
                let id = record.entry
                guard let entry = registry.entries[id], let lock = entry.lock else {
                    throw .lockUnsupported(name.name)
                }
                guard let holder = entry.queue.holder, holder.session == session else {
                    return (id, lock, nil)
                }
                return (
                    id, lock,
                    LockGrant(
                        segment: entry.title, fencingToken: holder.token,
                        acquiredAt: holder.acquiredAt)
                )
            }
            if let grant {
                if lock.isIntact {
                    completion(.success(grant))
                    return nil
                }
                lose(id, lock, token: grant.fencingToken)
            }
            return enqueue(waiter, at: id, lock, wait: wait)
        } catch {
            completion(.failure(error))
            return nil
        }
    }

    /// Gives back the lock that a session holds.
    ///
    /// - Parameters:
    ///   - name: The segment.
    ///   - session: Who holds it.
    ///   - token: If given, only the hold that was granted with this token is given back.
    /// - Throws: ``ServiceError``: `.notLocked`, also where another process's `create` took the
    ///   lock away meanwhile; `.notAttached`, `.lockUnsupported`, `.sessionGone`.
    public func unlock(_ name: KnownName, session: Session.ID, token: FencingToken? = nil)
        throws(ServiceError)
    {
        let (id, lock) = try attached(session, to: name.name, known: name) {
            (registry, record) throws(ServiceError) -> (EntryID, SegmentLock) in
            let id = record.entry
            guard let entry = registry.entries[id], let lock = entry.lock else {
                throw .lockUnsupported(name.name)
            }
            guard let holder = entry.queue.holder, holder.session == session,
                token == nil || holder.token == token
            else {
                throw ServiceError(
                    .notLocked, "the session does not hold the lock of \(entry.name)")
            }
            metrics.end(holder)
            registry.endHold(id)
            return (id, lock)
        }
        guard giveBack(id, lock) else {
            throw ServiceError(
                .notLocked,
                "the lock was taken away: another process created the semaphore of \(name.name) anew"
            )
        }
    }

    /// Who holds the lock of a segment.
    ///
    /// - Parameter name: The segment.
    /// - Returns: The holder, as far as it can be known; `nil` for a segment without a lock.
    /// - Throws: ``ServiceError``: `.notFound`, or what the system refused.
    public func lockStatus(existing name: SegmentName) throws(ServiceError) -> LockStatus? {
        do throws(SegmentError) { try requireSegment(name) } catch { throw ServiceError(error) }
        return try lockStatus(name)
    }

    func lockStatus(_ name: SegmentName) throws(ServiceError) -> LockStatus? {
        let address = try address(of: name, session: nil)
        let found = registry.withLock { registry -> (SegmentLock?, LockQueue, String?)? in
            guard let address, let id = registry.current[address],
                let queue = registry.entries[id]?.queue
            else { return nil }
            let holderName = queue.holder.flatMap { registry.sessions[$0.session]?.name }
            return (registry.entries[id]?.lock, queue, holderName)
        }
        do throws(SegmentError) {
            guard let (entryLock, queue, holderName) = found else {
                guard case .key(let key) = name else { return nil }
                let isFree = try SegmentLock(ofSegment: key).isFree()
                return LockStatus(state: isFree ? .free : .external, sessionName: nil, waiting: 0)
            }
            guard let lock = entryLock else { return nil }
            let waiting = queue.waitingCount
            if lock.isHeld, lock.isIntact {
                // Held in passing, for waiters who have left, is as good as free.
                let isOurs = queue.holder != nil || queue.isServing || !queue.isEmpty
                return LockStatus(
                    state: isOurs ? .session : .free, sessionName: holderName, waiting: waiting)
            }
            var isFree = lock.isHeld ? false : try lock.isFree()
            // Those who waited have left, and the thread that waited in the kernel for them may have
            // it for an instant.
            for _ in 0..<5 where !isFree && queue.isLingering {
                pause(microseconds: 1_000)
                isFree = lock.isHeld ? false : try lock.isFree()
            }
            return LockStatus(
                state: isFree ? .free : .external, sessionName: nil, waiting: waiting)
        } catch { throw ServiceError(error) }
    }

    /// Frees the lock of a segment, whoever holds it.
    ///
    /// - Parameter name: The segment.
    /// - Throws: ``ServiceError``: `.notFound`, `.lockUnsupported`, or what the system refused.
    public func breakLock(_ name: SegmentName) throws(ServiceError) {
        guard case .key(let key) = name else { throw .lockUnsupported(name) }
        guard let address = try address(of: name, session: nil) else { throw .noSegment(name) }
        let held = registry.withLock {
            registry -> (id: EntryID, lock: SegmentLock, isHeld: Bool)? in
            guard let id = registry.current[address], let entry = registry.entries[id],
                let lock = entry.lock
            else { return nil }
            let holder = entry.queue.holder
            if let holder {
                metrics.end(holder)
                registry.endHold(id)
            }
            return (id, lock, holder != nil)
        }
        if let held, held.isHeld {
            metrics.locksLost.add()
            _ = giveBack(held.id, held.lock)
            return
        }
        do throws(SegmentError) {
            if held == nil { try requireSegment(name) }
            // A lock object of its own: the entry's may be waiting in the kernel just now.
            try SegmentLock(ofSegment: key).breakLock()
        } catch { throw ServiceError(error) }
    }
}

extension ServiceError {
    /// Only a key file leads to a lock.
    package static func lockUnsupported(_ name: some CustomStringConvertible) -> ServiceError {
        ServiceError(.lockUnsupported, "the segment \(name) has no key file, and so no lock")
    }

    static func noSegment(_ name: SegmentName) -> ServiceError {
        ServiceError(.notFound, "there is no segment \(name)")
    }

    static let gone = ServiceError(.notFound, "the segment was destroyed meanwhile")
}
