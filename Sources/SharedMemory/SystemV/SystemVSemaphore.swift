import CSharedMemory
import Glibc

/// A System V semaphore array of one, with the key of a file.
///
/// Every change is made with `SEM_UNDO`, as Qt's are: the kernel gives back what a dead process
/// held.
final class SystemVSemaphore: SegmentSemaphore {
    private let keyFile: KeyFile
    let number: CInt
    var identifier: CInt? { number }

    private init(keyFile: KeyFile, identifier: CInt) {
        self.keyFile = keyFile
        number = identifier
    }

    /// Opens the semaphore that has the key of a file now.
    static func open(_ keyFile: KeyFile) throws(SystemCallError) -> SystemVSemaphore {
        let identifier = try systemCall("semget") { semget(keyFile.key, 0, 0) }
        return SystemVSemaphore(keyFile: keyFile, identifier: identifier)
    }

    /// Opens the semaphore, made free if there is none.
    ///
    /// Never resets one that is in use.
    static func openOrCreate(_ keyFile: KeyFile, permissions: UInt32) throws(SystemCallError)
        -> (semaphore: SystemVSemaphore, isNew: Bool)
    {
        while true {
            do throws(SystemCallError) {
                let identifier = try systemCall("semget") {
                    semget(keyFile.key, 1, IPC_CREAT | IPC_EXCL | CInt(permissions))
                }
                try systemCall("semctl") { csharedmemory_semctl_set_value(identifier, 1) }
                return (SystemVSemaphore(keyFile: keyFile, identifier: identifier), true)
            } catch {
                guard error.number == EEXIST else { throw error }
            }
            do throws(SystemCallError) {
                let semaphore = try open(keyFile)
                semaphore.finishAbandonedCreation()
                return (semaphore, false)
            } catch {
                guard error.number == ENOENT else { throw error }
            }
        }
    }

    /// Sets the value that a creator died before setting: no operation was ever made, nobody's
    /// process number is on it, and it is older than any creator takes.
    private func finishAbandonedCreation() { finishCreation(olderThan: 1) }

    func finishCreation() { finishCreation(olderThan: .min) }

    private func finishCreation(olderThan seconds: Int64) {
        var lastOperation: Int64 = 0
        var lastChange: Int64 = 0
        guard unsafe csharedmemory_semctl_times(number, &lastOperation, &lastChange) == 0,
            lastOperation == 0, WallTime.now.seconds - lastChange > seconds,
            csharedmemory_semctl_last_pid(number) == 0,
            currentValue == 0
        else { return }
        csharedmemory_semctl_set_value(number, 1)
    }

    func tryWait() throws(SystemCallError) -> Bool {
        // Not a wait of no length: a signal can end that one, and does not end this.
        try change(by: -1, within: nil, Int16(IPC_NOWAIT))
    }

    func wait(until deadline: MonotonicInstant) throws(SystemCallError) -> Bool {
        while true {
            do throws(SystemCallError) {
                return try change(by: -1, within: deadline.remaining)
            } catch {
                guard error.number == EINTR else { throw error }
            }
        }
    }

    func post() throws(SystemCallError) { _ = try change(by: 1, within: nil) }

    // Held, so nobody else is inside; whoever waits is told by EIDRM and finds the next one.
    func giveUp(isOwner: Bool) throws(SystemCallError) {
        if isOwner { remove(byForce: false) } else { try post() }
    }

    private func change(
        by amount: Int16, within span: timespec?, _ flags: Int16 = 0
    ) throws(SystemCallError) -> Bool {
        var limit = span ?? timespec()
        let answer = unsafe withUnsafePointer(to: &limit) {
            unsafe csharedmemory_semop_undo(number, amount, flags, span == nil ? nil : $0)
        }
        guard answer == -1 else { return true }
        let error = errno
        if error == EAGAIN { return false }
        throw Self.plain(SystemCallError(call: "semop", number: error))
    }

    /// `EINVAL` says as well that the array was removed, and its number is not in use again.
    private static func plain(_ error: SystemCallError) -> SystemCallError {
        error.number == EINVAL ? SystemCallError(call: error.call, number: EIDRM) : error
    }

    private func control(_ call: () -> CInt) throws(SystemCallError) -> CInt {
        do throws(SystemCallError) { return try systemCall("semctl", call) } catch {
            throw Self.plain(error)
        }
    }

    /// A missing key file changes nothing for those who have the semaphore already.
    var isCurrent: Bool {
        let value = currentValue
        // Another user's, which this process may open but not look at, is there all the same: to
        // take it for one that went would be to open it again and again.
        guard value != -1 || errno == EACCES else { return false }
        return isCurrentAsTaken
    }

    var isCurrentAsTaken: Bool { keyFile.standing != .replaced }

    var isSharedWithoutName: Bool { false }

    /// The value, or -1 when the array is gone or may not be looked at.
    var currentValue: CInt { csharedmemory_semctl_value(number) }

    var isStillTaken: Bool {
        currentValue == 0 && hasOwnUnit && isCurrentAsTaken
    }

    func isFree() throws(SystemCallError) -> Bool {
        try control { currentValue } > 0
    }

    func hasWaiters() -> Bool { csharedmemory_semctl_waiters(number) > 0 }

    func isAbandoned() -> Bool { false }

    func recoverIfStale() -> Bool { false }  // the kernel undoes what a dead process did

    // A reset has freed it already. One look at the key file decides: it may change between two.
    func giveBack() -> Bool {
        let isReplaced = keyFile.standing == .replaced
        let value = currentValue
        return giveBackOwnUnit(from: value) && value == 0 && !isReplaced
    }

    func free() throws(SystemCallError) {
        _ = try control { csharedmemory_semctl_set_value(number, 1) }
    }

    // The kernel gave it back in the dead process's name, whose number stands there until somebody
    // takes it: then the lock had another holder, and the former one has lost it. The number of a
    // process in another namespace reads 0.
    func resume(after former: FormerHolder) -> Bool {
        let last = csharedmemory_semctl_last_pid(number)
        guard keyFile.standing != .replaced, last == 0 || former.processes.contains(last) else {
            return false
        }
        return (try? tryWait()) == true
    }

    /// Removes an array that lost its key file before it was removed itself.
    ///
    /// - Parameters:
    ///   - number: The kernel's number for it.
    ///   - current: The array that is found by the key now, which stays.
    static func removeRemains(_ number: CInt, but current: CInt?) {
        guard number != current, csharedmemory_semctl_value(number) > 0,
            csharedmemory_semctl_waiters(number) == 0
        else { return }
        csharedmemory_semctl_remove(number)
    }

    func removeUnlessUsed() {
        guard currentValue > 0, !hasWaiters() else { return }
        remove(byForce: false)
    }

    // As Qt's destructor does. The next of those who stay finds it gone, makes it anew, and by that
    // becomes the one who removes it in the end; an array that we left would outlive the segment.
    func handOver(withFile: Bool) { remove(withFile: withFile) }

    // Whoever waits is told by EIDRM and makes a new one, as Qt does.
    func remove(byForce: Bool) { remove(withFile: true) }

    // The file first: whoever makes an array of it in between would hold one that the next comer,
    // with a new file, does not find.
    private func remove(withFile: Bool) {
        if withFile { keyFile.remove() }
        csharedmemory_semctl_remove(number)
    }
}
