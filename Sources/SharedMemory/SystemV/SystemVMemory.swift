import Glibc

/// The memory of a System V segment.
///
/// The kernel counts the attachments of all processes, so the last reference is known exactly.
final class SystemVMemory: SegmentMemory {
    let mode: AccessMode
    let byteCount: Int
    let identifier: CInt
    let keyFile: KeyFile?
    private let mapping: Mapping

    private init(identifier: CInt, keyFile: KeyFile?, mapping: consuming Mapping, mode: AccessMode)
    {
        self.identifier = identifier
        self.keyFile = keyFile
        self.byteCount = mapping.byteCount
        self.mapping = mapping
        self.mode = mode
    }

    /// Makes a segment under the key of a file.
    ///
    /// Nothing is left when that fails. It fails with `EIDRM` when the segment was removed again before
    /// it was attached to: a Qt object that had used the key before looks at what has it now, without
    /// the lock, and destroys a segment that nobody is attached to.
    static func create(
        _ keyFile: KeyFile, byteCount: Int, mode: AccessMode, permissions: UInt32
    ) throws(SystemCallError) -> SystemVMemory {
        let flags = IPC_CREAT | IPC_EXCL | CInt(permissions)
        let identifier = try systemCall("shmget") { shmget(keyFile.key, byteCount, flags) }
        do throws(SystemCallError) {
            let mapping = try Mapping(ofSegment: identifier, byteCount: byteCount, mode: mode)
            guard !(try SystemVStatus(of: identifier).isMarkedForRemoval) else {
                throw SystemCallError(call: "shmat", number: EIDRM)
            }
            return SystemVMemory(
                identifier: identifier, keyFile: keyFile, mapping: mapping, mode: mode)
        } catch {
            _ = shmctl(identifier, IPC_RMID, nil)
            throw error.number == EINVAL ? SystemCallError(call: "shmat", number: EIDRM) : error
        }
    }

    /// Attaches to the segment that has the key of a file now.
    static func attach(
        _ keyFile: KeyFile, mode: AccessMode, telling tell: ((Sighting) -> Void)?
    ) throws(SystemCallError) -> SystemVMemory {
        // The segment may be removed between two of these calls; then the key has another one, or
        // none, and the next try tells.
        for _ in 0..<100 {
            let identifier = try systemCall("shmget") { shmget(keyFile.key, 0, 0) }
            do throws(SystemCallError) {
                let memory = try attach(
                    identifier: identifier, keyFile: keyFile, mode: mode, telling: tell)
                if !(try memory.status().isMarkedForRemoval) { return memory }
            } catch {
                guard error.number == EIDRM || error.number == EINVAL else { throw error }
            }
        }
        throw SystemCallError(call: "shmat", number: EIDRM)
    }

    /// Attaches to a segment by the kernel's number for it; `tell` is told of it just before.
    static func attach(
        identifier: CInt, keyFile: KeyFile?, mode: AccessMode, telling tell: ((Sighting) -> Void)?
    ) throws(SystemCallError) -> SystemVMemory {
        let status = try SystemVStatus(of: identifier)
        tell?(
            Sighting(
                identity: .systemV(identifier: identifier, key: keyFile?.key ?? status.key),
                keyFile: keyFile?.identity, byteCount: status.byteCount,
                isUsed: status.attachCount > 0))
        let mapping = try Mapping(ofSegment: identifier, byteCount: status.byteCount, mode: mode)
        return SystemVMemory(
            identifier: identifier, keyFile: keyFile, mapping: mapping, mode: mode)
    }

    /// Attaches to one segment and no other, under the key it was found by or none any more.
    static func reattach(
        identifier: CInt, key: key_t, keyFile: KeyFile?, mode: AccessMode
    ) throws(SystemCallError) -> SystemVMemory {
        let memory = try attach(
            identifier: identifier, keyFile: keyFile, mode: mode, telling: nil)
        let status = try memory.status()
        // The key goes with the name.
        guard status.key == key || status.isMarkedForRemoval else {
            throw SystemCallError(call: "shmget", number: ENOENT)
        }
        guard status.attachCount > 1 || !status.isMarkedForRemoval else {
            throw SystemCallError(call: "shmat", number: ENOENT)
        }
        return memory
    }

    var identity: SegmentIdentity {
        .systemV(identifier: identifier, key: keyFile?.key ?? (try? status().key) ?? 0)
    }

    var baseAddress: UnsafeRawPointer { unsafe UnsafeRawPointer(mapping.base) }
    var mutableBaseAddress: UnsafeMutableRawPointer { unsafe mapping.base }

    func status() throws(SystemCallError) -> SystemVStatus { try SystemVStatus(of: identifier) }

    var hasItsName: Bool { hasItsAddress && keyFile.map { $0.standing == .same } ?? true }

    // The key is taken from a segment that is removed, and to ask for it costs less than the status.
    var hasItsAddress: Bool {
        if let keyFile { return shmget(keyFile.key, 0, 0) == identifier }
        return (try? status()).map { !$0.isMarkedForRemoval } ?? false
    }

    var properName: String { SegmentName.identifier(identifier).description }

    var address: KernelAddress? { keyFile.map { .systemV($0.key) } }

    func currentByteCount() throws(SystemCallError) -> Int { byteCount }

    func read(at offset: Int, into buffer: UnsafeMutableRawBufferPointer) throws(MemoryFault) {
        guard unsafe mapping.copy(from: offset, into: buffer) else {
            throw .refused(SystemCallError(call: "read", number: EFAULT))
        }
    }

    func readByName(at offset: Int, into buffer: UnsafeMutableRawBufferPointer)
        throws(MemoryFault) -> Bool
    {
        guard hasItsAddress else { return false }
        try unsafe read(at: offset, into: buffer)
        return true
    }

    func write(_ buffer: UnsafeRawBufferPointer, at offset: Int) throws(MemoryFault) {
        guard unsafe mapping.copy(buffer, to: offset) else {
            throw .refused(SystemCallError(call: "write", number: ENOSPC))
        }
    }

    func useByOthers() -> Use {
        guard let status = try? status() else { return .unknown }
        return status.attachCount > 1 ? .used : .unused
    }

    // The kernel notes the process that was the last to attach or detach.
    var sawOthers: Bool {
        guard let status = try? status() else { return false }
        return status.lastProcess != getpid()
    }

    var remnant: Remnant.Object { .systemV(identifier, keyFile) }

    func removeUnlessUsed() throws(SystemCallError) -> Bool {
        let status = try status()
        guard status.attachCount <= 1 else { return false }
        if status.isMarkedForRemoval {
            // A peer removed it: the kernel frees the memory with our mapping. The file goes too,
            // unless it names a new segment by now.
            if let keyFile, shmget(keyFile.key, 0, 0) == -1, errno == ENOENT { keyFile.remove() }
        } else {
            try removeByForce()
        }
        return true
    }

    func removeByForce() throws(SystemCallError) {
        try systemCall("shmctl") { shmctl(identifier, IPC_RMID, nil) }
        keyFile?.remove()
    }
}

/// What the kernel tells of a System V segment.
struct SystemVStatus: Sendable {
    let key: key_t
    let byteCount: Int
    let attachCount: Int
    let lastProcess: pid_t
    let isMarkedForRemoval: Bool

    init(of identifier: CInt) throws(SystemCallError) {
        var status = shmid_ds()
        try systemCall("shmctl") { unsafe shmctl(identifier, IPC_STAT, &status) }
        key = status.shm_perm.__key
        byteCount = status.shm_segsz
        attachCount = Int(status.shm_nattch)
        lastProcess = status.shm_lpid
        isMarkedForRemoval = UInt32(status.shm_perm.mode) & 0o1000 != 0  // SHM_DEST
    }
}
