import CSharedMemory
import Glibc

/// A named POSIX semaphore, the same that `sem_open` would give.
///
/// Its file is opened and mapped here, for the mapping then belongs to a descriptor that can be
/// asked whether anybody else has the semaphore.
final class POSIXSemaphore: SegmentSemaphore {
    private let file: SharedMemoryFile
    private let mapping: Mapping

    /// The file's name for a segment's name.
    static func fileName(for segment: String) -> String { "sem.\(segment)" }

    private init(file: consuming SharedMemoryFile) throws(SystemCallError) {
        let status = try file.descriptor.status()
        guard status.byteCount >= csharedmemory_semaphore_size() else {
            throw SystemCallError(call: "sem_open", number: EINVAL)
        }
        mapping = try Mapping(
            of: file.descriptor, byteCount: csharedmemory_semaphore_size(), mode: .readWrite)
        self.file = file
    }

    /// Opens the semaphore that has the name now.
    static func open(named name: String) throws(SystemCallError) -> POSIXSemaphore {
        try POSIXSemaphore(
            file: try SharedMemoryFile.open(named: fileName(for: name), mode: .readWrite))
    }

    /// Opens the semaphore, made free if there is none.
    ///
    /// Never resets one that exists.
    static func openOrCreate(named name: String, permissions: UInt32) throws(SystemCallError)
        -> (semaphore: POSIXSemaphore, isNew: Bool)
    {
        while true {
            do throws(SystemCallError) {
                return (try open(named: name), false)
            } catch {
                guard error.number == ENOENT else { throw error }
            }
            do throws(SystemCallError) {
                let file = try SharedMemoryFile.create(
                    named: fileName(for: name), permissions: permissions, prepare: fill)
                return (try POSIXSemaphore(file: file), true)
            } catch {
                guard error.number == EEXIST else { throw error }
            }
        }
    }

    private static func fill(_ descriptor: borrowing FileDescriptor) throws(SystemCallError) {
        var bytes = [UInt8](repeating: 0, count: csharedmemory_semaphore_size())
        _ = unsafe csharedmemory_semaphore_initialise(&bytes, 1)
        let count = bytes.count
        let written = try systemCall("write") {
            unsafe write(descriptor.rawValue, bytes, count)
        }
        guard written == count else { throw SystemCallError(call: "write", number: ENOSPC) }
    }

    func tryWait() throws(SystemCallError) -> Bool {
        let number = unsafe csharedmemory_semaphore_try(mapping.base, HolderMark.current)
        if number == EAGAIN { return false }
        try Self.require(number, of: "sem_trywait")
        return true
    }

    func wait(until deadline: MonotonicInstant) throws(SystemCallError) -> Bool {
        var time = deadline.timeSpecification
        let number = unsafe csharedmemory_semaphore_wait(mapping.base, HolderMark.current, &time)
        if number == ETIMEDOUT { return false }
        try Self.require(number, of: "sem_clockwait")
        return true
    }

    func post() throws(SystemCallError) {
        try Self.require(unsafe csharedmemory_semaphore_post(mapping.base), of: "sem_post")
    }

    // The file went with its name, and those who wait on it look for the next one.
    func giveUp(isOwner: Bool) throws(SystemCallError) { try post() }

    /// A semaphore whose file was truncated is as good as removed.
    private static func require(_ number: CInt, of call: String) throws(SystemCallError) {
        guard number != 0 else { return }
        throw SystemCallError(call: call, number: number == EFAULT ? EIDRM : number)
    }

    private func state() -> (value: UInt32, waiters: UInt32, mark: UInt32)? {
        var value: UInt32 = 0
        var waiters: UInt32 = 0
        var mark: UInt32 = 0
        guard unsafe csharedmemory_semaphore_state(mapping.base, &value, &waiters, &mark) == 0
        else { return nil }
        return (value, waiters, mark)
    }

    var isCurrent: Bool { file.hasItsName }

    var isCurrentAsTaken: Bool { isCurrent }

    var isSharedWithoutName: Bool { file.standing == .missing && file.useByOthers() == .used }

    var isStillTaken: Bool { file.standing != .replaced && state()?.value == 0 }

    func isFree() throws(SystemCallError) -> Bool {
        guard let state = state() else {
            throw SystemCallError(call: "sem_getvalue", number: EIDRM)
        }
        return state.value > 0
    }

    func hasWaiters() -> Bool { (state()?.waiters ?? 0) > 0 }

    func isAbandoned() -> Bool { file.useByOthers() == .unused && state()?.value == 0 }

    // Nobody else has it open, so whoever took it is gone.
    func recoverIfStale() -> Bool {
        file.whileUnused {
            guard let state = state(), state.value == 0 else { return false }
            return unsafe csharedmemory_semaphore_post(mapping.base) == 0
        } ?? false
    }

    // Those who wait on a replaced semaphore move on; nobody new can find it.
    func giveBack() -> Bool {
        let isReplaced = file.standing == .replaced
        guard isReplaced || state()?.value == 0 else { return false }
        return unsafe csharedmemory_semaphore_post(mapping.base) == 0 && !isReplaced
    }

    func free() throws(SystemCallError) {
        if !(try isFree()) { try post() }
    }

    // The mark was set in the step that took it, and goes in the step that gives it back.
    func resume(after former: FormerHolder) -> Bool {
        guard file.hasItsName, let state = state() else { return false }
        return state.value == 0 && state.mark == former.mark
    }

    /// Gives back what a process with a mark, gone by now, had taken.
    ///
    /// - Returns: Whether it had.
    func giveBack(for mark: UInt32) -> Bool {
        unsafe csharedmemory_semaphore_post_for(mapping.base, mark) == 0
    }

    var identifier: CInt? { nil }

    func finishCreation() {}  // it got its name whole

    func removeUnlessUsed() { _ = file.removeUnlessUsed() }

    // Qt would take the name away, and whoever came next would lock another semaphore than those who
    // stayed. Here the name stays as long as the segment's does.
    func handOver(withFile: Bool) { _ = try? post() }

    func remove(byForce: Bool) {
        let isGone = file.removeUnlessUsed()
        if byForce, !isGone { try? file.removeByForce() }
    }
}
