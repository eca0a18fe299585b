import CSharedMemory
import Glibc
import Synchronization

/// The memory of a POSIX segment: a file of /dev/shm and a mapping made from it.
///
/// One open file description stands for this holder, its mapping included; that is what the
/// kernel counts when it is asked who else holds the segment.
final class POSIXMemory: SegmentMemory {
    let mode: AccessMode
    let byteCount: Int
    private let file: SharedMemoryFile
    private let mapping: Mapping
    /// Whether all of it had memory when it was attached: then no look at it takes any.
    private let isReserved: Bool
    /// Whether the file itself tells when its name was taken from it.
    private let tellsOfItsName: Bool
    private let nameMemory = Mutex(NameMemory())

    private init(
        file: consuming SharedMemoryFile, mapping: consuming Mapping, mode: AccessMode,
        isReserved: Bool
    ) {
        self.isReserved = isReserved
        tellsOfItsName = file.descriptor.fileSystem?.filesTellOfNames == true
        self.file = file
        self.byteCount = mapping.byteCount
        self.mapping = mapping
        self.mode = mode
    }

    /// Makes a segment whose pages are all reserved, so that a full file system is an error now
    /// and not a fault on first touch.
    static func create(
        named name: String, byteCount: Int, mode: AccessMode, permissions: UInt32,
        willName: (FileIdentity) -> Void
    ) throws(SystemCallError) -> POSIXMemory {
        var mapping: Mapping?
        let file = try SharedMemoryFile.create(
            named: name, permissions: permissions, willName: willName
        ) {
            (descriptor) throws(SystemCallError) in
            while true {
                let number = posix_fallocate(descriptor.rawValue, 0, byteCount)
                if number == 0 { break }
                guard number == EINTR else {
                    throw SystemCallError(call: "posix_fallocate", number: number)
                }
            }
            mapping = try Mapping(of: descriptor, byteCount: byteCount, mode: mode)
        }
        guard let mapping = mapping.take() else { preconditionFailure("prepared above") }
        return POSIXMemory(file: file, mapping: mapping, mode: mode, isReserved: true)
    }

    /// Attaches to what has the name now.
    ///
    /// A file without a byte is one that its creator has not sized yet, or one that was
    /// truncated; the first passes within moments.
    static func attach(
        named name: String, mode: AccessMode, telling tell: ((Sighting) -> Void)?
    ) throws(SystemCallError) -> POSIXMemory {
        for _ in 0..<100 {
            let file = try SharedMemoryFile.open(named: name, mode: mode)
            let status = try file.descriptor.status()
            let byteCount = status.byteCount
            if byteCount > 0 {
                tell?(
                    Sighting(
                        identity: .file(file.identity), keyFile: nil, byteCount: byteCount,
                        isUsed: file.useByOthers() == .used))
                let mapping = try Mapping(of: file.descriptor, byteCount: byteCount, mode: mode)
                return POSIXMemory(
                    file: file, mapping: mapping, mode: mode,
                    isReserved: status.reservedByteCount >= byteCount)
            }
            pause(microseconds: 100)
        }
        throw SystemCallError(call: "mmap", number: EINVAL)
    }

    var baseAddress: UnsafeRawPointer { unsafe UnsafeRawPointer(mapping.base) }
    var mutableBaseAddress: UnsafeMutableRawPointer { unsafe mapping.base }

    var hasItsName: Bool { file.hasItsName }

    var hasItsAddress: Bool { file.hasItsName }

    // What follows a # is no part of a key, for Qt neither.
    var properName: String {
        NativeKey("/" + file.name, type: .posix).text + "#inode=\(file.identity.inode)"
    }

    func currentByteCount() throws(SystemCallError) -> Int {
        try file.descriptor.byteCount()
    }

    var identity: SegmentIdentity { .file(file.identity) }

    /// Attaches to one file and no other, by the name it has or has not.
    static func reattach(named name: String, identity: FileIdentity, mode: AccessMode)
        throws(SystemCallError) -> POSIXMemory
    {
        let memory = try attach(named: name, mode: mode, telling: nil)
        guard memory.file.identity == identity else {
            throw SystemCallError(call: "open", number: ENOENT)
        }
        return memory
    }

    var address: KernelAddress? { .posix(Array(file.name.utf8)) }

    var keyFile: KeyFile? { nil }

    // A copy out of the mapping costs a fraction of a call that reads. Behind a new end it may give
    // the rest of a page, so whether the file goes on is looked at afterwards. And a page that nobody
    // has written to yet would take memory by being looked at, which the call that reads gives zeros
    // for.
    func read(at offset: Int, into buffer: UnsafeMutableRawBufferPointer) throws(MemoryFault) {
        guard isReserved, unsafe mapping.copy(from: offset, into: buffer) else {
            return try unsafe readFile(at: offset, into: buffer)
        }
        try requireBytes(upTo: offset + buffer.count)
    }

    // One look tells both where the name leads and how long that is.
    func readByName(at offset: Int, into buffer: UnsafeMutableRawBufferPointer)
        throws(MemoryFault) -> Bool
    {
        guard isReserved, unsafe mapping.copy(from: offset, into: buffer) else {
            try unsafe readFile(at: offset, into: buffer)
            return file.hasItsName
        }
        guard let byteCount = byteCountByName() else { return false }
        guard offset + buffer.count <= byteCount else { throw .truncated }
        return true
    }

    /// How long the file is, in bytes; nil when its name leads to it no longer.
    private func byteCountByName() -> Int? {
        let now = WallTime.lastTick
        let last = nameMemory.withLock { $0 }
        if last.isFresh(at: now), let status = try? file.descriptor.status(), last.knows(status) {
            return status.byteCount
        }
        guard let status = file.statusOfName, status.identity == file.identity else { return nil }
        if tellsOfItsName { nameMemory.withLock { $0.remember(status, at: now) } }
        return status.byteCount
    }

    private func readFile(at offset: Int, into buffer: UnsafeMutableRawBufferPointer)
        throws(MemoryFault)
    {
        var done = 0
        while done < buffer.count {
            let part = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[done...])
            let count = unsafe pread(
                file.descriptor.rawValue, part.baseAddress, part.count, offset + done)
            if count > 0 {
                done += count
            } else if count == 0 {
                throw .truncated
            } else if errno != EINTR {
                throw .refused(SystemCallError(call: "pread", number: errno))
            }
        }
    }

    // pwrite would make a truncated file grow; a copy into the mapping cannot. When a peer truncates
    // it between the two steps, what is behind the new end is lost, as it is when that comes later.
    func write(_ buffer: UnsafeRawBufferPointer, at offset: Int) throws(MemoryFault) {
        guard buffer.count > 0 else { return }
        try requireBytes(upTo: offset + buffer.count)
        guard unsafe mapping.copy(buffer, to: offset) else {
            try requireBytes(upTo: offset + buffer.count)
            // All pages are within the file, and one could not be had: the file system is full
            // and the segment's creator did not reserve it.
            throw .refused(SystemCallError(call: "write", number: ENOSPC))
        }
    }

    /// Throws unless the file has so many bytes, which is nearly always seen by its next page.
    private func requireBytes(upTo end: Int) throws(MemoryFault) {
        if isReserved, mapping.hasPage(behind: end) { return }
        let byteCount: Int
        do throws(SystemCallError) { byteCount = try currentByteCount() } catch {
            throw .refused(error)
        }
        guard end <= byteCount else { throw .truncated }
    }

    func useByOthers() -> Use { file.useByOthers() }

    var sawOthers: Bool { false }

    var remnant: Remnant.Object { .posix(file.name, file.identity) }

    func removeUnlessUsed() throws(SystemCallError) -> Bool { file.removeUnlessUsed() }

    func removeByForce() throws(SystemCallError) { try file.removeByForce() }
}
