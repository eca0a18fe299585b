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

    private let hold: Hold
    private var memory: any SegmentMemory { hold.memory }
    private let isSettled = Atomic(false)

    /// How long `create`, `attach` and `deinit` wait for the lock.
    ///
    /// They take it so that they do not fall between the steps of a process that detaches; a lock
    /// held for longer is held for another purpose, and whoever holds it does not detach.
    private static let patience: Int64 = 10

    private init(name: SegmentName, lock: SegmentLock?, memory: any SegmentMemory) {
        self.name = name
        self.lock = lock
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
            return try create(key, permissions: permissions) { () throws(SystemCallError) in
                try POSIXMemory.create(
                    named: key.posixName, byteCount: byteCount, mode: mode,
                    permissions: permissions)
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
                return try create(key, permissions: permissions) { () throws(SystemCallError) in
                    try SystemVMemory.create(
                        keyFile, byteCount: byteCount, mode: mode, permissions: permissions)
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
        _ key: NativeKey, permissions: UInt32,
        _ make: () throws(SystemCallError) -> any SegmentMemory
    ) throws(SegmentError) -> Segment {
        let lock = SegmentLock(ofSegment: key, permissions: permissions)
        let isLocked = try lock.lock(until: .now.advanced(byMilliseconds: patience))
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
                try POSIXMemory.attach(named: key.posixName, mode: mode)
            case .systemV(let projectID):
                try SystemVMemory.attach(
                    try KeyFile.find(key.value, projectID: projectID), mode: mode)
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
        let name = SegmentName.identifier(identifier)
        do throws(SystemCallError) {
            let memory = try SystemVMemory.attach(
                identifier: identifier, keyFile: nil, mode: mode)
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

    // MARK: The bytes

    /// The size when it was created or attached, in bytes.
    public var byteCount: Int { memory.byteCount }

    /// What this holder may do with the bytes.
    public var mode: AccessMode { memory.mode }

    /// Copies bytes out of the segment.
    ///
    /// Never faults, and never gives bytes that are not there.
    ///
    /// - Parameters:
    ///   - offset: Where to begin.
    ///   - buffer: What to fill wholly.
    /// - Throws: ``SegmentError``: `.outOfRange`; `.truncated` when a peer made it smaller.
    public func read(at offset: Int, into buffer: UnsafeMutableRawBufferPointer)
        throws(SegmentError)
    {
        try require(offset, buffer.count)
        do throws(MemoryFault) { try unsafe memory.read(at: offset, into: buffer) } catch {
            throw failure(error)
        }
    }

    /// Copies bytes out of the segment into a new array.
    ///
    /// - Parameters:
    ///   - offset: Where to begin.
    ///   - byteCount: How many to copy.
    /// - Returns: The bytes.
    /// - Throws: ``SegmentError`` as ``read(at:into:)``.
    public func read(at offset: Int, byteCount: Int) throws(SegmentError) -> [UInt8] {
        try require(offset, byteCount)
        var failure: SegmentError?
        let bytes = unsafe [UInt8](unsafeUninitializedCapacity: byteCount) { buffer, count in
            do throws(SegmentError) {
                try unsafe read(at: offset, into: UnsafeMutableRawBufferPointer(buffer))
                count = byteCount
            } catch { failure = error }
        }
        if let failure { throw failure }
        return bytes
    }

    /// Copies bytes into the segment.
    ///
    /// Never faults, and never makes the segment grow.
    ///
    /// - Parameters:
    ///   - buffer: The bytes.
    ///   - offset: Where they go.
    /// - Throws: ``SegmentError``: `.outOfRange`, `.readOnly`; `.truncated` when a peer made it
    ///   smaller, `.outOfResources` when a page that its creator did not reserve cannot be had.
    public func write(_ buffer: UnsafeRawBufferPointer, at offset: Int) throws(SegmentError) {
        guard mode == .readWrite else { throw SegmentError(.readOnly, key: name.description) }
        try require(offset, buffer.count)
        do throws(MemoryFault) { try unsafe memory.write(buffer, at: offset) } catch {
            throw failure(error)
        }
    }

    /// Copies the bytes of an array into the segment.
    ///
    /// - Parameters:
    ///   - bytes: The bytes.
    ///   - offset: Where they go.
    /// - Throws: ``SegmentError`` as the other `write`.
    public func write(_ bytes: [UInt8], at offset: Int) throws(SegmentError) {
        var failure: SegmentError?
        unsafe bytes.withUnsafeBytes { buffer in
            do throws(SegmentError) { try unsafe write(buffer, at: offset) } catch {
                failure = error
            }
        }
        if let failure { throw failure }
    }

    /// Lends the bytes themselves.
    ///
    /// Other processes may change them meanwhile; hold the ``lock`` to keep those out that hold to
    /// it. A peer that truncates a POSIX segment makes the access fault: where peers are not
    /// trusted, copy with ``read(at:into:)``.
    ///
    /// - Parameter body: Looks at the bytes.
    /// - Returns: What `body` returns.
    /// - Throws: What `body` throws.
    public func withBytes<Result, Failure: Error>(
        _ body: (RawSpan) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try body(unsafe RawSpan(_unsafeStart: memory.baseAddress, byteCount: byteCount))
    }

    /// Lends the bytes themselves for changing.
    ///
    /// - Parameter body: Changes the bytes; see ``withBytes(_:)`` for what to beware of.
    /// - Returns: What `body` returns.
    /// - Throws: What `body` throws.
    /// - Precondition: The segment is attached ``AccessMode/readWrite``.
    public func withMutableBytes<Result, Failure: Error>(
        _ body: (inout MutableRawSpan) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        precondition(mode == .readWrite, "the segment is attached read-only")
        var span = unsafe MutableRawSpan(
            _unsafeStart: memory.mutableBaseAddress, byteCount: byteCount)
        return try body(&span)
    }

    /// The address of the bytes, for those who hand it to the kernel and to nobody else: a system
    /// call answers a page that a peer took away with `EFAULT`.
    ///
    /// Valid while the segment lives.
    package var baseAddress: UnsafeRawPointer { unsafe memory.baseAddress }

    /// The size now, in bytes: less than ``byteCount`` once a peer truncated the segment.
    ///
    /// - Returns: The size.
    /// - Throws: ``SegmentError`` when the system cannot tell.
    public func currentByteCount() throws(SegmentError) -> Int {
        do throws(SystemCallError) { return try memory.currentByteCount() } catch {
            throw SegmentError(error, key: name.description)
        }
    }

    private func require(_ offset: Int, _ count: Int) throws(SegmentError) {
        guard offset >= 0, count >= 0, offset <= byteCount, count <= byteCount - offset else {
            throw SegmentError(
                .outOfRange, key: name.description,
                reason: "\(count) bytes at \(offset) of \(byteCount)")
        }
    }

    private func failure(_ fault: MemoryFault) -> SegmentError {
        switch fault {
        case .truncated: SegmentError(.truncated, key: name.description)
        case .refused(let error): SegmentError(error, key: name.description)
        }
    }

    // MARK: Letting go

    /// Whether the segment's name still leads here; false once a peer removed or replaced it.
    public var hasItsName: Bool { memory.hasItsName }

    /// Where the name led when the segment was found by it.
    ///
    /// A key file may lead elsewhere before and after. `nil` for a segment that was found by its
    /// number.
    package var address: KernelAddress? { memory.address }

    /// The key file by which the segment was found, apart from its path.
    package var keyFileIdentity: (device: UInt64, inode: UInt64)? {
        memory.keyFile.map { ($0.identity.device, $0.identity.inode) }
    }

    /// Whether any other holder has the segment; `nil` where the kernel does not tell.
    public var isUsedByOthers: Bool? {
        switch memory.useByOthers() {
        case .used: true
        case .unused: false
        case .unknown: nil
        }
    }

    /// Detaches; destroys the segment if this was its last reference.
    ///
    /// Takes the lock for it, as Qt does, unless this segment's ``lock`` is held already; gives
    /// it back in either case.
    ///
    /// - Parameter deadline: How long to wait for a lock that another holds.
    /// - Returns: Whether the segment was destroyed.
    /// - Throws: ``SegmentError`` with `.lockError` when the lock was not to be had in time, or
    ///   what the system refused. The memory is let go in any case.
    @discardableResult
    public consuming func detach(until deadline: MonotonicInstant = .distantFuture)
        throws(SegmentError) -> Bool
    {
        // One that has lost both its name and its lock needs neither to go.
        guard let lock, lock.exists || hasItsName else { return try removeIfLast() }
        if !lock.isHeld {
            guard try lock.lock(until: deadline) else {
                settle()
                throw SegmentError(
                    .lockError, key: name.description, reason: "held by another process")
            }
        }
        let wasLast: Bool
        do throws(SegmentError) { wasLast = try removeIfLast() } catch {
            lock.unlock()
            throw error
        }
        finish(wasLast, lock)
        return wasLast
    }

    // The mapping goes before the lock does: whoever takes the lock next must not find it still.
    private borrowing func finish(_ wasLast: Bool, _ lock: SegmentLock) {
        hold.letGo()
        if wasLast { lock.remove() } else { lock.leave() }
    }

    /// Removes the segment if this is its last reference.
    ///
    /// The caller holds the ``lock``, lets the value go afterwards, and only then ends the lock
    /// with ``SegmentLock/unlock()`` or, when the segment is gone, ``SegmentLock/remove()``.
    ///
    /// - Returns: Whether it was the last reference.
    /// - Throws: ``SegmentError`` for what the system refused.
    package func removeIfLast() throws(SegmentError) -> Bool {
        settle()
        do throws(SystemCallError) { return try memory.removeUnlessUsed() } catch {
            throw SegmentError(error, key: name.description)
        }
    }

    /// Removes name and lock now, whoever is attached; the memory lives on with those who are.
    ///
    /// - Throws: ``SegmentError`` for what the system refused.
    public func removeByForce() throws(SegmentError) {
        settle()
        do throws(SystemCallError) { try memory.removeByForce() } catch {
            throw SegmentError(error, key: name.description)
        }
        lock?.remove()
    }

    /// Decides that letting go of this value destroys nothing.
    public func settle() { isSettled.store(true, ordering: .releasing) }
}

/// Keeps a segment's memory until the segment lets go of it, which it does before its lock ends.
private final class Hold: @unchecked Sendable {
    // Sendable: changed only where the segment ends, when nobody else can have it.
    private var kept: (any SegmentMemory)?

    init(_ memory: any SegmentMemory) { kept = memory }

    var memory: any SegmentMemory {
        guard let kept else { preconditionFailure("the segment has been let go") }
        return kept
    }

    func letGo() { kept = nil }
}
