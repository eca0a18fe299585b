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

    private let permissions: UInt32
    private let state = Mutex(State())

    private struct State {
        var semaphore: (any SegmentSemaphore)?
        var madeIt = false
        var isHeld = false
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
    /// - Returns: Whether the lock is held now.
    /// - Throws: ``SegmentError`` when the semaphore can be neither opened nor made.
    public func tryLock() throws(SegmentError) -> Bool {
        try lock(until: MonotonicInstant(nanoseconds: 0))
    }

    /// Takes the lock, waiting for its holder until an instant.
    ///
    /// - Parameter deadline: When to give up.
    /// - Returns: Whether the lock is held now.
    /// - Throws: ``SegmentError`` when the semaphore can be neither opened nor made.
    public func lock(until deadline: MonotonicInstant) throws(SegmentError) -> Bool {
        while true {
            let semaphore = try open()
            do throws(SystemCallError) {
                var taken = try semaphore.tryWait()
                if !taken, semaphore.recoverIfStale() { taken = try semaphore.tryWait() }
                let now = MonotonicInstant.now
                if !taken, now < deadline {
                    let slice = now.advanced(byMilliseconds: Self.patience)
                    taken = try semaphore.wait(until: min(deadline, slice))
                }
                guard semaphore.isCurrent else {
                    if taken { try semaphore.giveUp(isOwner: isOwner) }
                    forget(semaphore)
                    continue
                }
                if taken {
                    state.withLock { $0.isHeld = true }
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
        guard let semaphore else { return false }
        guard semaphore.isStillTaken, (try? semaphore.post()) != nil else {
            semaphore.releaseAfterLoss()
            return false
        }
        return true
    }

    /// Whether the lock is free, without taking it. A lock whose semaphore is not there is free.
    ///
    /// - Throws: ``SegmentError`` when the semaphore is there and may not be opened.
    public func isFree() throws(SegmentError) -> Bool {
        while true {
            guard let semaphore = try openExisting() else { return true }
            guard !isHeld else { return false }
            do throws(SystemCallError) {
                if semaphore.isCurrent { return try semaphore.isFree() || semaphore.isAbandoned() }
                if isOwner, try semaphore.tryWait() { try semaphore.giveUp(isOwner: true) }
                forget(semaphore)
            } catch {
                guard error.number == EIDRM else { throw failure(error) }
                forget(semaphore)
            }
        }
    }

    /// Whether the semaphore is there; a segment that no Qt process ever used has none.
    public var exists: Bool { ((try? openExisting()) ?? nil) != nil }

    /// Whether anybody else waits for the lock in the kernel.
    public var hasWaiters: Bool { state.withLock { $0.semaphore }?.hasWaiters() ?? false }

    /// Frees the lock whoever holds it. An act of administration: the holder is not asked.
    ///
    /// - Throws: ``SegmentError`` when the semaphore may not be changed.
    public func breakLock() throws(SegmentError) {
        guard let semaphore = try openExisting() else { return }
        state.withLock { $0.isHeld = false }
        do throws(SystemCallError) { try semaphore.free() } catch { throw failure(error) }
    }

    /// Removes the semaphore and what names it, as goes with the segment's last reference. A lock
    /// held by this object ends.
    ///
    /// A process that detached may have a POSIX semaphore open still: Qt's objects keep it. Its name
    /// goes all the same, since the segment does.
    package func remove() { remove(byForce: true) }

    private func remove(byForce: Bool) {
        let held = isHeld
        guard let semaphore = (try? openExisting()) ?? nil else { return }
        if held { unlock() }
        semaphore.remove(byForce: byForce)
        forget(semaphore)
    }

    /// Removes the semaphore if this object made it; for a `create` that failed afterwards.
    func removeIfMade() {
        if state.withLock({ $0.madeIt }) { remove(byForce: false) }
    }

    // MARK: Opening

    private func open() throws(SegmentError) -> any SegmentSemaphore {
        if let semaphore = state.withLock({ $0.semaphore }) { return semaphore }
        let opened: (semaphore: any SegmentSemaphore, isNew: Bool)
        do throws(SystemCallError) {
            switch key.type {
            case .posix:
                opened = try POSIXSemaphore.openOrCreate(
                    named: key.posixName, permissions: permissions)
            case .systemV(let projectID):
                let keyFile = try KeyFile.findOrCreate(key.value, projectID: projectID).file
                opened = try SystemVSemaphore.openOrCreate(keyFile, permissions: permissions)
            case .windows:
                throw SystemCallError(call: "CreateSemaphore", number: ENOSYS)
            }
        } catch { throw failure(error) }
        state.withLock {
            $0.semaphore = opened.semaphore
            $0.madeIt = opened.isNew
        }
        return opened.semaphore
    }

    private func openExisting() throws(SegmentError) -> (any SegmentSemaphore)? {
        if let semaphore = state.withLock({ $0.semaphore }) { return semaphore }
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
        state.withLock { $0.semaphore = semaphore }
        return semaphore
    }

    private var isOwner: Bool { state.withLock { $0.madeIt } }

    private func forget(_ semaphore: any SegmentSemaphore) {
        state.withLock {
            guard $0.semaphore === semaphore else { return }
            $0 = State()
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
