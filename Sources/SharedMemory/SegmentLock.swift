import Glibc
import Synchronization

/// The lock between processes that belongs to a segment: Qt's `QSystemSemaphore`.
///
/// A lock excludes other processes and other `SegmentLock`s of this one. It is advisory: reading
/// and writing a segment never looks at it.
///
/// Qt's `create()` replaces or resets the semaphore of an existing key, whoever holds it. A wait
/// here notices that within 100 ms and goes on with the new semaphore; a holder can ask
/// ``isIntact``, and is told when unlocking. This library never does the same to others: an
/// existing semaphore is used as it is.
///
/// A System V lock is given back by the kernel when its holder dies (`SEM_UNDO`). A POSIX lock is
/// given back when nobody else has the semaphore open any more, which proves the holder gone.
///
/// One thread at a time may lock and unlock; asking is open to all.
public final class SegmentLock: Sendable {
    /// The key of the semaphore; for a legacy key of a segment, the one Qt pairs with it.
    public let key: NativeKey

    let segmentKey: NativeKey
    private let permissions: UInt32
    private let state = Mutex(State())

    private struct State {
        var semaphore: (any SegmentSemaphore)?
        var madeIt = false
        var isHeld = false
        var isRetired = false

        /// Forgets the semaphore.
        mutating func clear() { self = State(isRetired: isRetired) }
    }

    /// How long a wait goes on before it looks whether it waits for the right semaphore.
    private static let patience: Int64 = 50

    /// Names the lock of the segment with a key; opens nothing yet.
    ///
    /// - Parameters:
    ///   - key: The segment's key.
    ///   - permissions: The mode bits of a semaphore that has to be made.
    public init(ofSegment key: NativeKey, permissions: UInt32 = 0o600) {
        self.key = key.semaphoreKey
        self.segmentKey = key
        self.permissions = permissions
    }

    /// Whether this object has taken the lock and not given it back.
    public var isHeld: Bool { state.withLock { $0.isHeld } }

    /// Whether the lock, held by this object, still keeps others out.
    public var isIntact: Bool {
        guard let semaphore = state.withLock({ $0.isHeld ? $0.semaphore : nil }) else {
            return false
        }
        return semaphore.isStillTaken
    }

    /// Takes the lock if it is free, or if its holder is provably dead.
    ///
    /// Locks do not nest: one that this object holds already is not free.
    ///
    /// - Returns: Whether the lock was taken.
    /// - Throws: ``SegmentError`` when the semaphore can be neither opened nor made.
    public func tryLock() throws(SegmentError) -> Bool {
        try lock(until: MonotonicInstant(nanoseconds: 0))
    }

    /// Takes the lock, waiting for its holder until an instant.
    ///
    /// - Parameter deadline: When to give up.
    /// - Returns: Whether the lock was taken.
    /// - Throws: ``SegmentError`` when the semaphore can be neither opened nor made.
    public func lock(until deadline: MonotonicInstant) throws(SegmentError) -> Bool {
        while true {
            let semaphore = try open()
            do throws(SystemCallError) {
                var taken = try semaphore.tryWait()
                if !taken, !isHeld, semaphore.recoverIfStale() { taken = try semaphore.tryWait() }
                let now = MonotonicInstant.now
                if !taken, now < deadline {
                    let slice = now.advanced(byMilliseconds: Self.patience)
                    taken = try semaphore.wait(until: min(deadline, slice))
                }
                guard isCurrent(semaphore, isTaken: taken) else {
                    if taken { try semaphore.giveUp(isOwner: state.withLock { $0.madeIt }) }
                    forget(semaphore)
                    continue
                }
                if taken {
                    state.withLock {
                        // Somebody who asked may have opened another one meanwhile.
                        $0.semaphore = semaphore
                        $0.isHeld = true
                    }
                    return true
                }
                if MonotonicInstant.now >= deadline { return false }
            } catch {
                guard error.number == EIDRM else { throw failure(error) }
                forget(semaphore)
            }
        }
    }

    /// Gives the lock back.
    ///
    /// - Returns: Whether the lock had kept others out until now: false when another process
    ///   reset or replaced the semaphore meanwhile, which Qt's `create()` does.
    @discardableResult
    public func unlock() -> Bool {
        let semaphore = state.withLock { state -> (any SegmentSemaphore)? in
            defer { state.isHeld = false }
            return state.isHeld ? state.semaphore : nil
        }
        return semaphore?.giveBack() ?? false
    }

    /// Whether the lock is free, without taking it.
    ///
    /// A lock whose semaphore is not there is free.
    ///
    /// - Throws: ``SegmentError`` when the semaphore is there and may not be opened.
    public func isFree() throws(SegmentError) -> Bool {
        while true {
            guard let semaphore = try openExisting() else { return true }
            guard !isHeld else { return false }
            do throws(SystemCallError) {
                if isCurrent(semaphore) { return try semaphore.isFree() || semaphore.isAbandoned() }
                abandon(semaphore)
            } catch {
                guard error.number == EIDRM else { throw failure(error) }
                forget(semaphore)
            }
        }
    }

    /// Whether the semaphore is there; a segment that no Qt process ever used has none.
    public var exists: Bool {
        while let semaphore = (try? openExisting()) ?? nil {
            if isHeld || isCurrent(semaphore) { return true }
            abandon(semaphore)
        }
        return false
    }

    /// Whether anybody else waits for the lock in the kernel.
    public var hasWaiters: Bool { state.withLock { $0.semaphore }?.hasWaiters() ?? false }

    /// Frees the lock whoever holds it.
    ///
    /// An act of administration: the holder is not asked.
    ///
    /// - Throws: ``SegmentError`` when the semaphore may not be changed.
    public func breakLock() throws(SegmentError) {
        guard let semaphore = try openExisting() else { return }
        state.withLock { $0.isHeld = false }
        do throws(SystemCallError) { try semaphore.free() } catch {
            guard error.number == EIDRM else { throw failure(error) }
            forget(semaphore)  // what is gone is free
        }
    }

    /// Removes the semaphore and what names it, as goes with the segment's last reference.
    ///
    /// A lock held by this object ends.
    ///
    /// A process that detached may have a POSIX semaphore open still: Qt's objects keep it. Its name
    /// goes all the same, since the segment does. Where a peer has made a new segment under the name
    /// meanwhile, the lock is that segment's, and stays where that uses it.
    package func remove() {
        guard segmentKey.hasSegment else {
            remove(byForce: true)
            return
        }
        switch key.type {
        case .posix: remove(byForce: false)  // whoever uses the successor's lock has it open
        default: unlock()
        }
    }

    private func remove(byForce: Bool) {
        guard let semaphore = (try? openExisting()) ?? nil else { return }
        let wasCurrent = isCurrent(semaphore)
        // In this order, or somebody takes it in between and believes it to be the lock.
        semaphore.remove(byForce: byForce)
        unlock()
        forget(semaphore)
        // Replaced by another process: what has the name now goes.
        guard !wasCurrent, let current = (try? openExisting()) ?? nil else { return }
        current.remove(byForce: byForce)
        forget(current)
    }

    /// Ends a hold of this object on the lock of a segment that it has let go of, while others have
    /// it still.
    package func leave() {
        let made = state.withLock { state -> (any SegmentSemaphore)? in
            guard state.isHeld, state.madeIt else { return nil }
            defer { state.clear() }
            return state.semaphore
        }
        if let made, made.isStillTaken {
            made.handOver(withFile: segmentKey.value != key.value)
        } else if let made {
            _ = made.giveBack()
        } else {
            unlock()
        }
    }

    /// Makes no semaphore from now on: the segment was let go of, and a wait that ends later must not
    /// make one for it.
    package func retire() { state.withLock { $0.isRetired = true } }

    /// Gives the lock back that came to be held only after the segment was let go of; a semaphore that
    /// was made for that goes.
    package func unlockRetired() {
        if !segmentKey.hasSegment { removeIfMade() }
        unlock()
    }

    /// Removes the semaphore if this object made it; for a `create` that failed afterwards.
    func removeIfMade() {
        if state.withLock({ $0.madeIt }) { remove(byForce: false) }
    }

    /// Whether this object made the semaphore, and so removes it in the end.
    package var isMadeHere: Bool { state.withLock { $0.madeIt } }

    /// Notes that a predecessor of this process made the semaphore.
    package func adopt() { state.withLock { $0.madeIt = true } }

    /// The semaphore, where it is open.
    var openSemaphore: (any SegmentSemaphore)? { state.withLock { $0.semaphore } }

    /// Keeps a semaphore as one that is held.
    func keepHeld(_ semaphore: any SegmentSemaphore) {
        state.withLock {
            $0.semaphore = semaphore
            $0.isHeld = true
        }
    }

    // MARK: Opening

    private func open() throws(SegmentError) -> any SegmentSemaphore {
        if let semaphore = state.withLock({ $0.semaphore }) { return semaphore }
        guard !state.withLock({ $0.isRetired }) else {
            if let semaphore = try openExisting() { return semaphore }
            throw SegmentError(.lockError, key: key.description, reason: "its segment is gone")
        }
        try key.requireUsable()
        let opened: (semaphore: any SegmentSemaphore, isNew: Bool)
        do throws(SystemCallError) {
            switch key.type {
            case .posix:
                opened = try POSIXSemaphore.openOrCreate(
                    named: key.posixName, permissions: permissions)
            case .systemV(let projectID):
                let (keyFile, isNew) = try KeyFile.findOrCreate(key.value, projectID: projectID)
                do throws(SystemCallError) {
                    opened = try SystemVSemaphore.openOrCreate(keyFile, permissions: permissions)
                } catch {
                    if isNew { keyFile.remove() }
                    throw error
                }
            case .windows:
                throw SystemCallError(call: "CreateSemaphore", number: ENOSYS)
            }
        } catch { throw failure(error) }
        return keep(opened.semaphore, isNew: opened.isNew)
    }

    func openExisting() throws(SegmentError) -> (any SegmentSemaphore)? {
        if let semaphore = state.withLock({ $0.semaphore }) { return semaphore }
        try key.requireUsable()
        let semaphore: any SegmentSemaphore
        do throws(SystemCallError) {
            switch key.type {
            case .posix:
                semaphore = try POSIXSemaphore.open(named: key.posixName)
            case .systemV(let projectID):
                semaphore = try SystemVSemaphore.open(
                    try KeyFile.find(key.value, projectID: projectID))
            case .windows:
                return nil
            }
        } catch {
            if error.number == ENOENT { return nil }
            throw failure(error)
        }
        return keep(semaphore, isNew: false)
    }

    /// Keeps a semaphore that was opened, unless another thread has opened it meanwhile.
    private func keep(_ semaphore: any SegmentSemaphore, isNew: Bool) -> any SegmentSemaphore {
        state.withLock { state in
            if isNew { state.madeIt = true }
            if let other = state.semaphore { return other }
            state.semaphore = semaphore
            return semaphore
        }
    }

    // A Qt object that made the semaphore takes its name away when it goes, whoever uses it. As long
    // as the segment is there, those who have the semaphore go on among themselves until somebody
    // makes a new one; so do we.
    private func isCurrent(_ semaphore: any SegmentSemaphore, isTaken: Bool = false) -> Bool {
        (isTaken ? semaphore.isCurrentAsTaken : semaphore.isCurrent)
            || (semaphore.isSharedWithoutName && segmentKey.hasSegment)
    }

    /// Turns away from a semaphore that newcomers do not find; one that this object made goes, unless
    /// somebody is inside.
    private func abandon(_ semaphore: any SegmentSemaphore) {
        let isOurs = state.withLock { $0.semaphore === semaphore && $0.madeIt && !$0.isHeld }
        if isOurs, (try? semaphore.tryWait()) == true { try? semaphore.giveUp(isOwner: true) }
        forget(semaphore)
    }

    func forget(_ semaphore: any SegmentSemaphore) {
        state.withLock {
            guard $0.semaphore === semaphore, !$0.isHeld else { return }
            $0.clear()
        }
    }

    private func failure(_ error: SystemCallError) -> SegmentError {
        let code: SegmentError.Code =
            switch error.number {
            case EACCES, EPERM: .permissionDenied
            case ENOSPC, EMFILE, ENFILE, ENOMEM, ERANGE, EDQUOT: .outOfResources
            case ENOTDIR, ENAMETOOLONG, ENOENT, ELOOP, EISDIR: .keyError
            default: .lockError
            }
        return SegmentError(code, key: key.description, cause: error, reason: "its lock")
    }
}
