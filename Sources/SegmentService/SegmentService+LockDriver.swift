import SharedMemory
import Synchronization

/// How waiting for a lock works: a queue of our own in front of the system's semaphore.
///
/// One thread at a time works the semaphore of an entry, the one that set its queue busy. It serves
/// the queue in order, and lends a thread to the kernel only while another process holds the lock.
extension SegmentService {
    /// How long a request that asks for no wait stays for a lock that is only busy for a moment,
    /// as it is while a process attaches, in milliseconds.
    private static let instant: Int64 = 10

    /// How many threads may wait in the kernel at a time.
    ///
    /// Beyond that, locks are tried in turns.
    private static let kernelWaitLimit = 128

    // MARK: Waiting

    /// Puts a waiter in the queue, and works the semaphore if nobody does.
    func enqueue(_ waiter: LockWaiter, at id: EntryID, _ lock: SegmentLock, wait: Int64?) -> Wait? {
        var own: LockHolder?
        let start = registry.withLock { registry -> (isFirst: Bool, isHeld: Bool)? in
            guard let entry = registry.entries[id], !(registry.isDraining && waiter.isClient)
            else { return nil }
            if waiter.isWork, let holder = entry.queue.holder, holder.session == waiter.session {
                entry.queue.phase = .busy
                own = holder
                return (false, true)
            }
            entry.queue.append(waiter)
            switch entry.queue.phase {
            case .idle:
                entry.queue.phase = .busy
                return (true, false)
            case .held: return (false, true)
            default: return (false, false)
            }
        }
        guard let start else {
            waiter.fail(isDraining ? .shuttingDown : .gone)
            return nil
        }
        if let own {
            work(waiter, under: own, id, lock)
            return nil
        }
        if start.isFirst { drive(id, lock, isHeld: false) }
        if start.isHeld { endLostHold(id, lock) }
        let waits = registry.withLock { $0.entries[id]?.queue.contains(waiter) ?? false }
        guard waits else { return nil }
        if let wait {
            let deadline = MonotonicInstant.now.advanced(byMilliseconds: max(wait, Self.instant))
            let ticket = timer.schedule(at: deadline) { [weak self, weak waiter] in
                guard let self, let waiter, self.withdraw(waiter, from: id) else { return }
                metrics.lockTimeouts.add()
                waiter.fail(
                    ServiceError(
                        .locked,
                        wait == 0
                            ? "somebody else has the lock; wait_ms says how long to wait for it"
                            : "somebody else has the lock, after \(wait) ms of waiting still"))
            }
            waiter.deadline.store(ticket.number, ordering: .sequentiallyConsistent)
        }
        if start.isHeld { watchHolders() }
        return Wait { [weak self, weak waiter] in
            guard let self, let waiter else { return }
            if self.withdraw(waiter, from: id) { self.cancelDeadline(of: waiter) }
        }
    }

    /// Does what a session wants done under a lock that came to be its own just before.
    ///
    /// The queue was set busy by the caller.
    private func work(
        _ waiter: LockWaiter, under holder: LockHolder, _ id: EntryID, _ lock: SegmentLock
    ) {
        guard case .perform(let body) = waiter.purpose, body(.success(())) == .held else { return }
        let isKept = registry.withLock { registry in
            guard let entry = registry.entries[id], let record = registry.sessions[holder.session],
                record.attachments[entry.address]?.entry == id
            else { return false }
            entry.queue.phase = .held(holder)
            return true
        }
        if !isKept {
            registry.withLock { $0.endHold(id) }
            _ = giveBack(id, lock)
        }
    }

    private func withdraw(_ waiter: LockWaiter, from id: EntryID) -> Bool {
        registry.withLock { $0.entries[id]?.queue.remove(waiter) ?? false }
    }

    func cancelDeadline(of waiter: LockWaiter) {
        let number = waiter.deadline.load(ordering: .sequentiallyConsistent)
        if number != 0 { timer.cancel(Timer.Ticket(number: number)) }
    }

    // MARK: Working the semaphore

    /// Ends a holder whose entry was set busy by the caller, and serves who waits next.
    ///
    /// - Returns: Whether the lock had kept others out until now.
    func giveBack(_ id: EntryID, _ lock: SegmentLock) -> Bool {
        // Where nobody waits for it, to give it back tells whether it was intact.
        let isAwaited = registry.withLock { $0.entries[id].map { !$0.queue.isEmpty } ?? true }
        let isIntact = isAwaited ? lock.isIntact : lock.unlock()
        if isAwaited, !isIntact { lock.unlock() }
        drive(id, lock, isHeld: isAwaited && isIntact, turns: 1)
        return isIntact
    }

    /// Serves the waiters of a lock in their order, until there is none, or one keeps the lock, or
    /// it has to be waited for in the kernel.
    ///
    /// The caller has set the queue busy, so no other thread does the same.
    ///
    /// - Parameters:
    ///   - id: The entry whose lock it is.
    ///   - lock: The lock.
    ///   - isHeld: Whether the semaphore is ours.
    ///   - turns: How many of ours had it since it became so. A process that waits in the kernel
    ///     gets it after one.
    func drive(_ id: EntryID, _ lock: SegmentLock, isHeld: Bool, turns: Int = 0) {
        enum Next {
            case serve(LockWaiter), take, giveBack, rest
        }
        var isHeld = isHeld
        var turns = turns
        while true {
            if isHeld, turns > 0, lock.hasWaiters {
                lock.unlock()
                isHeld = false
                if hasWaiters(id) {
                    waitInKernel(id, lock, afterYielding: true)
                    return
                }
            }
            let next = registry.withLock { registry -> Next in
                guard let entry = registry.entries[id] else { return isHeld ? .giveBack : .rest }
                entry.queue.isServing = false
                if entry.queue.isEmpty {
                    if !isHeld { entry.queue.phase = .idle }
                    return isHeld ? .giveBack : .rest
                }
                guard isHeld, let waiter = entry.queue.popFirst() else { return .take }
                entry.queue.isServing = true
                return .serve(waiter)
            }
            switch next {
            case .rest:
                return
            case .giveBack:
                let isGone = registry.withLock { $0.entries[id] == nil }
                if isGone { lock.unlockRetired() } else { lock.unlock() }
                isHeld = false
            case .take:
                do throws(SegmentError) {
                    isHeld = try lock.tryLock()
                    turns = 0
                } catch {
                    failWaiters(of: id, ServiceError(error))
                    continue
                }
                if !isHeld {
                    waitInKernel(id, lock, afterYielding: false)
                    return
                }
            case .serve(let waiter):
                cancelDeadline(of: waiter)
                guard waiter.client?.isConnected ?? true else { continue }
                switch serve(waiter, at: id) {
                case .keptLock: return
                case .lockIsGone: return
                case .refused: break
                case .done: turns += 1
                }
            }
        }
    }

    private enum Service { case keptLock, lockIsGone, refused, done }

    private func serve(_ waiter: LockWaiter, at id: EntryID) -> Service {
        switch waiter.purpose {
        case .hold(let completion):
            var isLater = false
            let grant = registry.withLock { registry -> LockGrant? in
                if registry.entries[id]?.queue.hasWork(of: waiter.session) == true {
                    registry.entries[id]?.queue.putBack(waiter)
                    isLater = true
                    return nil
                }
                return registry.grant(waiter.session, id)
            }
            guard let grant else {
                if !isLater { completion(.failure(.sessionGone)) }
                return .refused
            }
            // Those who came while the semaphore was being waited for have started no watch.
            if hasWaiters(id) { watchHolders() }
            metrics.end(waiter)
            completion(.success(grant))
            return .keptLock
        case .perform(let body):
            if let session = waiter.session,
                registry.withLock({ $0.sessions[session] == nil })
            {
                _ = body(.failure(.sessionGone))
                return .refused
            }
            if waiter.isClient { metrics.end(waiter) }
            return body(.success(())) == .gone ? .lockIsGone : .done
        }
    }

    private func hasWaiters(_ id: EntryID) -> Bool {
        registry.withLock { !($0.entries[id]?.queue.isEmpty ?? true) }
    }

    func failWaiters(of id: EntryID, _ error: ServiceError) {
        let waiters = registry.withLock { $0.entries[id]?.queue.removeAll() ?? [] }
        for waiter in waiters {
            cancelDeadline(of: waiter)
            waiter.fail(error)
        }
    }

    /// Waits for a semaphore that another process holds, on a thread lent for it, and goes on from
    /// there.
    private func waitInKernel(_ id: EntryID, _ lock: SegmentLock, afterYielding: Bool) {
        guard letGoMeanwhile(id, lock) else { return }
        let count = kernelWaits.add(1, ordering: .relaxed).newValue
        let hasThread =
            count <= Self.kernelWaitLimit
            && Thread.start { [self] in
                // A process that was woken needs a moment to take what was given back for it.
                if afterYielding { pause(microseconds: 200) }
                let isHeld = takeInKernel(id, lock)
                kernelWaits.subtract(1, ordering: .relaxed)
                drive(id, lock, isHeld: isHeld)
            }
        if !hasThread {
            kernelWaits.subtract(1, ordering: .relaxed)
            timer.schedule(at: .now.advanced(byMilliseconds: 5)) { [weak self] in
                self?.drive(id, lock, isHeld: false)
            }
        }
    }

    private func takeInKernel(_ id: EntryID, _ lock: SegmentLock) -> Bool {
        while hasWaiters(id) {
            do throws(SegmentError) {
                if try lock.lock(until: .now.advanced(byMilliseconds: 100)) { return true }
            } catch {
                failWaiters(of: id, ServiceError(error))
            }
        }
        return false
    }

    // MARK: Locks that were taken away

    /// Looks now and then whether locks that sessions hold, and others wait for, still are what
    /// other processes find; Qt's `create()` may have replaced one.
    private func watchHolders() {
        let mustStart = registry.withLock { registry in
            defer { registry.isWatchingHolders = true }
            return !registry.isWatchingHolders
        }
        if mustStart { scheduleWatch() }
    }

    private func scheduleWatch() {
        timer.schedule(at: .now.advanced(byMilliseconds: 50)) { [weak self] in self?.watch() }
    }

    private func watch() {
        let contended = registry.withLock { registry in
            let contended = registry.contendedHolders
            if contended.isEmpty { registry.isWatchingHolders = false }
            return contended
        }
        guard !contended.isEmpty else { return }
        for (id, lock, token) in contended where !lock.isIntact { lose(id, lock, token: token) }
        scheduleWatch()
    }

    /// Ends the hold of a session if it is one that no longer keeps anybody out, so that whoever
    /// does not wait is not refused for its sake.
    func endLostHold(_ id: EntryID, _ lock: SegmentLock) {
        let holder = registry.withLock { $0.entries[id]?.queue.holder }
        guard let holder, !lock.isIntact else { return }
        lose(id, lock, token: holder.token)
    }

    /// Ends a hold that no longer keeps anybody out.
    func lose(_ id: EntryID, _ lock: SegmentLock, token: FencingToken) {
        let isMine = registry.withLock { registry in
            guard let holder = registry.entries[id]?.queue.holder, holder.token == token else {
                return false
            }
            metrics.end(holder)
            registry.endHold(id)
            return true
        }
        guard isMine else { return }
        metrics.locksLost.add()
        lock.unlock()
        drive(id, lock, isHeld: false)
    }
}

extension Registry {
    /// Makes a session the holder of a lock whose semaphore is ours, if it is still attached.
    mutating func grant(_ session: Session.ID?, _ id: EntryID) -> LockGrant? {
        guard let session, let entry = entries[id],
            sessions[session]?.attachments[entry.address]?.entry == id, !isDraining
        else { return nil }
        let holder = LockHolder(session: session, token: nextToken(), acquiredAt: .now)
        entry.queue.phase = .held(holder)
        recordFlags(of: id)
        state?.setHolder(holder, of: entry.slot)
        return LockGrant(
            segment: entry.title, fencingToken: holder.token,
            acquiredAt: holder.acquiredAt)
    }

    /// Ends a session's hold on a lock; the caller gives the semaphore back, as the one thread that
    /// works it.
    mutating func endHold(_ id: EntryID) {
        guard let entry = entries[id] else { return }
        entry.queue.phase = .busy
        state?.clearHolder(of: entry.slot)
    }

    /// The locks that sessions hold and others wait for.
    var contendedHolders: [(EntryID, SegmentLock, FencingToken)] {
        entries.compactMap { id, entry in
            guard let holder = entry.queue.holder, !entry.queue.isEmpty, let lock = entry.lock
            else { return nil }
            return (id, lock, holder.token)
        }
    }
}
