import Glibc
import Synchronization

/// A block of memory that several processes see at once: Qt's `QSharedMemory`.
///
/// One process creates a segment, others attach to it by the same ``NativeKey``. The segment is
/// destroyed when the last of them detaches: its memory, its name and its lock. A process that
/// dies without detaching leaves it; the next one to detach last destroys it.
///
/// ```swift
/// let segment = try Segment.create(key, byteCount: 4096)
/// try segment.write([1, 2, 3], at: 0)
/// try segment.detach()
/// ```
///
/// A value that goes out of scope detaches as well, but waits only a moment for a lock that
/// another process holds: then the segment is left to whoever detaches next.
///
/// Nothing that other processes do to the object makes ``read(at:into:)`` or
/// ``write(_:at:)-([UInt8],_)`` fault. The closures of ``withBytes(_:)`` look at the memory itself,
/// without that protection.
public struct Segment: ~Copyable, Sendable {
    /// What the segment is called.
    public let name: SegmentName

    /// The lock that belongs to the segment; `nil` for one without a key file, which has none.
    public let lock: SegmentLock?

    /// The size when it was created or attached, in bytes.
    public let byteCount: Int

    /// What this holder may do with the bytes.
    public let mode: AccessMode

    let hold: Hold
    var memory: any SegmentMemory { hold.memory }
    let isSettled = Atomic(false)

    /// How long `create`, `attach` and `deinit` wait for the lock.
    ///
    /// They take it so that they do not fall between the steps of a process that detaches; a lock
    /// held for longer is held for another purpose, and whoever holds it does not detach.
    private static let patience: Int64 = 10

    init(name: SegmentName, lock: SegmentLock?, memory: any SegmentMemory) {
        self.name = name
        self.lock = lock
        byteCount = memory.byteCount
        mode = memory.mode
        self.hold = Hold(memory)
    }

    deinit {
        guard !isSettled.load(ordering: .acquiring) else { return }
        guard let lock, lock.exists else {
            _ = try? memory.removeUnlessUsed()
            return
        }
        let deadline = MonotonicInstant.now.advanced(byMilliseconds: Self.patience)
        guard lock.isHeld || (try? lock.lock(until: deadline)) == true else { return }
        let wasLast = (try? memory.removeUnlessUsed()) ?? false
        finish(wasLast, lock)
    }

    // MARK: Creating and attaching

    /// Creates a segment, filled with zeros, and attaches to it.
    ///
    /// The memory is reserved at once. Unlike Qt's, this `create` neither touches the lock of a
    /// segment that exists nor leaves anything behind when it fails.
    ///
    /// - Parameters:
    ///   - key: A key no segment has yet.
    ///   - byteCount: How many bytes to share. At least one.
    ///   - mode: What this holder may do; others choose for themselves.
    ///   - permissions: The mode bits of the objects made; a POSIX one loses those in the umask.
    /// - Returns: The attached segment.
    /// - Throws: ``SegmentError`` with any code of `QSharedMemory::SharedMemoryError`.
    public static func create(
        _ key: NativeKey, byteCount: Int, mode: AccessMode = .readWrite, permissions: UInt32 = 0o600
    ) throws(SegmentError) -> Segment {
        try create(
            key, byteCount: byteCount, mode: mode, permissions: permissions, telling: { _ in })
    }

    /// A step of a creation that its maker may be killed after.
    package enum CreationStep {
        /// A System V semaphore was made, and this is the kernel's number for it: it may lose its key
        /// file before it goes itself.
        case madeSemaphore(Int32)
        /// A POSIX segment is about to get its name.
        case willName(FileIdentity)
    }

    /// Does the same, and tells of the steps whose traces are hard to find.
    package static func create(
        _ key: NativeKey, byteCount: Int, mode: AccessMode = .readWrite,
        permissions: UInt32 = 0o600, telling tell: (CreationStep) -> Void
    ) throws(SegmentError) -> Segment {
        try key.requireUsable()
        guard byteCount > 0 else {
            throw SegmentError(
                .invalidSize, key: key.description, reason: "\(byteCount) is below one byte")
        }
        switch key.type {
        case .posix:
            guard SharedMemoryFile.identity(named: key.posixName) == nil else {
                throw SegmentError(.alreadyExists, key: key.description)
            }
            return try create(key, permissions, tell) { () throws(SystemCallError) in
                try POSIXMemory.create(
                    named: key.posixName, byteCount: byteCount, mode: mode,
                    permissions: permissions, willName: { tell(.willName($0)) })
            }
        case .systemV(let projectID):
            let (keyFile, isNew): (KeyFile, Bool)
            do throws(SystemCallError) {
                (keyFile, isNew) = try KeyFile.findOrCreate(key.value, projectID: projectID)
            } catch { throw SegmentError(keyFile: error, key: key.description) }
            guard shmget(keyFile.key, 0, 0) == -1 else {
                throw SegmentError(.alreadyExists, key: key.description)
            }
            do throws(SegmentError) {
                return try create(key, permissions, tell) { () throws(SystemCallError) in
                    var file = keyFile
                    for _ in 0..<100 {
                        do throws(SystemCallError) {
                            return try SystemVMemory.create(
                                file, byteCount: byteCount, mode: mode, permissions: permissions)
                        } catch { guard error.number == EIDRM else { throw error } }
                        // Whoever destroyed it at birth took the key file along.
                        file = try KeyFile.findOrCreate(key.value, projectID: projectID).file
                    }
                    throw SystemCallError(call: "shmat", number: EIDRM)
                }
            } catch {
                if isNew, error.code != .alreadyExists { keyFile.remove() }
                throw error
            }
        case .windows:
            throw SegmentError(.keyError, key: key.description, reason: "not on this platform")
        }
    }

    private static func create(
        _ key: NativeKey, _ permissions: UInt32, _ tell: (CreationStep) -> Void,
        _ make: () throws(SystemCallError) -> any SegmentMemory
    ) throws(SegmentError) -> Segment {
        let lock = SegmentLock(ofSegment: key, permissions: permissions)
        let isLocked = try lock.lock(until: .now.advanced(byMilliseconds: patience))
        if lock.isMadeHere, let number = lock.semaphoreIdentifier { tell(.madeSemaphore(number)) }
        do throws(SegmentError) {
            let memory = try translate(key, make)
            if isLocked { lock.unlock() }
            return Segment(name: .key(key), lock: lock, memory: memory)
        } catch {
            if isLocked { lock.unlock() }
            if error.code != .alreadyExists { lock.removeIfMade() }
            throw error
        }
    }

    /// Attaches to a segment that exists.
    ///
    /// Does not wait for a lock that is held for long, and makes no semaphore and no file.
    ///
    /// - Parameters:
    ///   - key: The segment's key.
    ///   - mode: What this holder may do.
    /// - Returns: The attached segment.
    /// - Throws: ``SegmentError``: `.notFound`, `.permissionDenied`, `.keyError`,
    ///   `.outOfResources`, `.truncated` when it has no byte left, or `.unknownError`.
    public static func attach(_ key: NativeKey, mode: AccessMode = .readWrite)
        throws(SegmentError) -> Segment
    {
        try attach(key, mode: mode, telling: nil)
    }

    /// Does the same, and tells what was found just before it is attached to; more than once where
    /// it has to be tried again.
    package static func attach(
        _ key: NativeKey, mode: AccessMode, telling tell: ((Sighting) -> Void)?
    ) throws(SegmentError) -> Segment {
        try key.requireUsable()
        let lock = SegmentLock(ofSegment: key)
        var isLocked = false
        if lock.exists {
            isLocked = (try? lock.lock(until: .now.advanced(byMilliseconds: patience))) ?? false
        }
        defer { if isLocked { lock.unlock() } }
        let memory = try translate(key) { () throws(SystemCallError) -> any SegmentMemory in
            switch key.type {
            case .posix:
                try POSIXMemory.attach(named: key.posixName, mode: mode, telling: tell)
            case .systemV(let projectID):
                try SystemVMemory.attach(
                    try KeyFile.find(key.value, projectID: projectID), mode: mode, telling: tell)
            case .windows:
                throw SystemCallError(call: "OpenFileMapping", number: ENOSYS)
            }
        }
        return Segment(name: .key(key), lock: lock, memory: memory)
    }

    /// Attaches to a System V segment by the kernel's number, for one that has no key file.
    ///
    /// It has no lock.
    ///
    /// - Parameters:
    ///   - identifier: The number that `ipcs` shows as shmid.
    ///   - mode: What this holder may do.
    /// - Returns: The attached segment.
    /// - Throws: ``SegmentError`` as ``attach(_:mode:)``.
    public static func attach(identifier: CInt, mode: AccessMode = .readWrite)
        throws(SegmentError) -> Segment
    {
        try attach(identifier: identifier, mode: mode, telling: nil)
    }

    /// Does the same, and tells what was found just before it is attached to.
    package static func attach(
        identifier: CInt, mode: AccessMode, telling tell: ((Sighting) -> Void)?
    ) throws(SegmentError) -> Segment {
        let name = SegmentName.identifier(identifier)
        do throws(SystemCallError) {
            let memory = try SystemVMemory.attach(
                identifier: identifier, keyFile: nil, mode: mode, telling: tell)
            return Segment(name: name, lock: nil, memory: memory)
        } catch {
            if error.number == EINVAL || error.number == EIDRM {
                throw SegmentError(.notFound, key: name.description, cause: error)
            }
            throw SegmentError(error, key: name.description)
        }
    }

    private static func translate<Result>(
        _ key: NativeKey, _ body: () throws(SystemCallError) -> Result
    ) throws(SegmentError) -> Result {
        do throws(SystemCallError) { return try body() } catch {
            let code: SegmentError.Code? =
                switch (error.call, error.number) {
                case ("shmget", EINVAL): .invalidSize
                case ("mmap", EINVAL): .truncated
                case ("stat", ENOTDIR): .notFound
                case ("open", EISDIR), ("open", ENXIO), ("open", EINVAL): .keyError
                default: nil
                }
            guard let code else { throw SegmentError(error, key: key.description) }
            throw SegmentError(code, key: key.description, cause: error)
        }
    }
}

/// Keeps a segment's memory until the segment lets go of it, which it does before its lock ends.
final class Hold: @unchecked Sendable {
    // Sendable: changed only where the segment ends, when nobody else can have it.
    private var kept: (any SegmentMemory)?

    init(_ memory: any SegmentMemory) { kept = memory }

    var memory: any SegmentMemory {
        guard let kept else { preconditionFailure("the segment has been let go") }
        return kept
    }

    func letGo() { kept = nil }
}
