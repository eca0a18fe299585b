import CSharedMemory
import Glibc

/// A range of this process's addresses that shows a segment, given back when its owner is done.
///
/// `@safe`: the address leaves this type only through functions that say what they promise, and
/// the copies below answer a page that a peer took away instead of faulting.
@safe
struct Mapping: ~Copyable, @unchecked Sendable {
    // Sendable: the address and the size never change; what lies there is shared with other
    // processes anyway, and is touched by copies only.
    private enum Origin { case file, systemV }

    let base: UnsafeMutableRawPointer
    let byteCount: Int
    private let origin: Origin

    /// Maps `byteCount` bytes of a file.
    init(of file: borrowing FileDescriptor, byteCount: Int, mode: AccessMode)
        throws(SystemCallError)
    {
        let protection = mode == .readOnly ? PROT_READ : PROT_READ | PROT_WRITE
        let address = unsafe mmap(nil, byteCount, protection, MAP_SHARED, file.rawValue, 0)
        guard let address = unsafe address, unsafe address != MAP_FAILED else {
            throw SystemCallError(call: "mmap", number: errno)
        }
        unsafe self.base = address
        self.byteCount = byteCount
        self.origin = .file
    }

    /// Attaches a System V segment.
    init(ofSegment identifier: CInt, byteCount: Int, mode: AccessMode) throws(SystemCallError) {
        let address = unsafe shmat(identifier, nil, mode == .readOnly ? SHM_RDONLY : 0)
        guard let address = unsafe address, Int(bitPattern: address) != -1 else {
            throw SystemCallError(call: "shmat", number: errno)
        }
        unsafe self.base = address
        self.byteCount = byteCount
        self.origin = .systemV
    }

    deinit {
        switch origin {
        case .file: _ = unsafe munmap(base, byteCount)
        case .systemV: _ = unsafe shmdt(base)
        }
    }

    /// Copies out of the mapping.
    ///
    /// - Returns: Whether every page was there.
    func copy(from offset: Int, into buffer: UnsafeMutableRawBufferPointer) -> Bool {
        precondition(offset >= 0 && offset <= byteCount && buffer.count <= byteCount - offset)
        guard let target = buffer.baseAddress, buffer.count > 0 else { return true }
        return unsafe csharedmemory_copy(target, base + offset, buffer.count) == 0
    }

    /// Whether the page is there that follows the one in which `end` lies, or begins with it.
    ///
    /// The kernel takes away what lies behind a new end before it clears the rest of the page of that
    /// end: whoever finds the next page after a copy has copied what was there. And to look costs a
    /// fraction of a call that asks for the length.
    ///
    /// - Returns: false also where no such page is mapped.
    func hasPage(behind end: Int) -> Bool {
        let next = (end + Self.pageByteCount - 1) & ~(Self.pageByteCount - 1)
        return unsafe next < byteCount && csharedmemory_look(base + next) == 0
    }

    private static let pageByteCount = sysconf(CInt(_SC_PAGESIZE))

    /// Copies into the mapping.
    ///
    /// - Returns: Whether every page was there.
    func copy(_ buffer: UnsafeRawBufferPointer, to offset: Int) -> Bool {
        precondition(offset >= 0 && offset <= byteCount && buffer.count <= byteCount - offset)
        guard let source = buffer.baseAddress, buffer.count > 0 else { return true }
        return unsafe csharedmemory_copy(base + offset, source, buffer.count) == 0
    }
}
