internal import Glibc

/// The body of a request while it arrives.
@safe
struct BodyBuffer {
    private var base: UnsafeMutableRawPointer?
    private var capacity = 0
    private(set) var byteCount = 0
    /// What it takes of the memory for all bodies, once it is too large not to be counted.
    private var share: BodyShare?

    /// Bodies up to here are not counted: it is connections that keep them from being many.
    static let uncountedByteCount = 64 * 1024

    /// Takes room in the memory for all bodies, for so many bytes more.
    ///
    /// What was declared and has not come yet takes nothing, so nobody is kept out by promises.
    mutating func takeRoom(for byteCount: Int, in memory: BodyMemory) -> Bool {
        let needed = self.byteCount + byteCount
        guard needed > Self.uncountedByteCount else { return true }
        let share = share ?? BodyShare(of: memory)
        self.share = share
        return share.grow(to: needed)
    }

    /// Allocates exactly as much as was declared, so that nothing is moved later.
    mutating func reserve(_ byteCount: Int) -> Bool {
        guard byteCount > capacity else { return true }
        guard let grown = unsafe realloc(base, byteCount) else { return false }
        unsafe base = grown
        capacity = byteCount
        return true
    }

    /// Appends bytes; grows by doubling.
    mutating func append(_ bytes: UnsafeRawBufferPointer, limit: Int) -> Bool {
        let needed = byteCount + bytes.count
        if needed > capacity, !reserve(max(needed, min(2 * capacity, limit))) { return false }
        guard let base = unsafe base, let source = bytes.baseAddress else { return true }
        unsafe memcpy(base + byteCount, source, bytes.count)
        byteCount = needed
        return true
    }

    /// Hands the bytes over.
    mutating func take() -> Body {
        guard let base = unsafe base else { return Body(buffer: nil) }
        defer { self = BodyBuffer() }
        return unsafe Body(buffer: OwnedBuffer(owning: base, byteCount: byteCount, share: share))
    }

    /// Frees what was not taken.
    mutating func discard() {
        unsafe free(base)
        self = BodyBuffer()
    }
}
