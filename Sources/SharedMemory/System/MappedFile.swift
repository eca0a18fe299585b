import CSharedMemory
import Glibc
import Synchronization

/// A private file of 64-bit words that this process writes by plain stores, and that the kernel keeps
/// when the process is killed.
///
/// What a store has written is in the file at once: it lives in pages that belong to the kernel.
/// Nothing is flushed, for the file need not survive the machine. Its blocks are reserved before
/// they are written, so that a full file system is an error when it grows and never a fault later,
/// and a file that was truncated behind our back answers a store with `false`.
///
/// `@unchecked Sendable`: the address never changes, and a word is stored in one step. Who may write
/// which words is up to the callers.
@safe
package final class MappedFile: @unchecked Sendable {
    private let descriptor: FileDescriptor
    private let mapping: Mapping
    private let reserved = Atomic(0)
    /// Told of each write before it is made; for tests of what a kill leaves.
    private let onWrite: (@Sendable (_ index: Int, _ words: [UInt64]) -> Void)?

    /// Opens a file, made if there is none, and maps as much address space as it may ever need.
    ///
    /// - Parameters:
    ///   - path: The file; a symbolic link is not followed.
    ///   - byteLimit: How large it may become.
    ///   - onWrite: Told of each write before it is made.
    /// - Throws: ``SystemCallError``.
    package init(
        _ path: String, byteLimit: Int,
        onWrite: (@Sendable (_ index: Int, _ words: [UInt64]) -> Void)? = nil
    ) throws(SystemCallError) {
        self.onWrite = onWrite
        descriptor = FileDescriptor(
            owning: try systemCall("open") {
                unsafe open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0o600)
            })
        let status = try descriptor.status()
        guard status.isRegularFile, status.owner == geteuid() else {
            throw SystemCallError(call: "open", number: EINVAL)
        }
        mapping = try Mapping(of: descriptor, byteCount: byteLimit, mode: .readWrite)
        reserved.store(status.byteCount, ordering: .relaxed)
    }

    /// How many bytes may be written now.
    package var byteCount: Int { reserved.load(ordering: .acquiring) }

    /// All words of the file as it is.
    package func words() -> [UInt64] {
        guard let status = try? descriptor.status(), status.byteCount > 0 else { return [] }
        let count = min(status.byteCount, mapping.byteCount) / 8
        var words = [UInt64](repeating: 0, count: count)
        let filled = unsafe words.withUnsafeMutableBytes { bytes in
            var done = 0
            while done < bytes.count {
                let part = unsafe UnsafeMutableRawBufferPointer(rebasing: bytes[done...])
                let answer = unsafe pread(
                    descriptor.rawValue, part.baseAddress, part.count, done)
                if answer > 0 {
                    done += answer
                } else if answer == 0 || errno != EINTR {
                    break
                }
            }
            return done / 8
        }
        words.removeLast(count - filled)
        return words
    }

    /// Throws away what is in it, but for so many bytes at the beginning, which it must have.
    package func clear(to byteCount: Int) throws(SystemCallError) {
        reserved.store(byteCount, ordering: .relaxed)
        try systemCall("ftruncate") { ftruncate(descriptor.rawValue, byteCount) }
    }

    /// Cuts it off for good: whoever still writes behind that is told that it is lost.
    package func cut(to byteCount: Int) { _ = ftruncate(descriptor.rawValue, byteCount) }

    /// Makes it larger, filled with zeros, its blocks reserved.
    ///
    /// One thread at a time.
    ///
    /// - Throws: ``SystemCallError``, with `ENOSPC` when there is no room; nothing has changed then.
    package func grow(to byteCount: Int) throws(SystemCallError) {
        let former = self.byteCount
        guard byteCount <= mapping.byteCount else {
            throw SystemCallError(call: "posix_fallocate", number: ENOSPC)
        }
        while true {
            let number = posix_fallocate(descriptor.rawValue, 0, byteCount)
            if number == 0 { break }
            guard number == EINTR else {
                _ = ftruncate(descriptor.rawValue, former)
                throw SystemCallError(call: "posix_fallocate", number: number)
            }
        }
        reserved.store(byteCount, ordering: .releasing)
    }

    /// Writes words one after the other.
    ///
    /// - Returns: Whether the file still has them.
    @discardableResult
    package func write(_ words: [UInt64], at index: Int) -> Bool {
        precondition(index >= 0 && (index + words.count) * 8 <= byteCount)
        onWrite?(index, words)
        return unsafe words.withUnsafeBytes { unsafe mapping.copy($0, to: index * 8) }
    }

    /// Writes one word in one step, after everything that was written before.
    ///
    /// - Returns: Whether the file still has it.
    @discardableResult
    package func store(_ word: UInt64, at index: Int) -> Bool {
        precondition(index >= 0 && (index + 1) * 8 <= byteCount)
        onWrite?(index, [word])
        return unsafe csharedmemory_store(mapping.base + index * 8, word) == 0
    }

    /// Reads words.
    package func read(at index: Int, count: Int) -> [UInt64] {
        precondition(index >= 0 && (index + count) * 8 <= byteCount)
        var words = [UInt64](repeating: 0, count: count)
        unsafe words.withUnsafeMutableBytes { _ = unsafe mapping.copy(from: index * 8, into: $0) }
        return words
    }
}
