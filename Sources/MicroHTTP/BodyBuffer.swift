internal import Glibc

/// The body of a request while it arrives.
@safe
struct BodyBuffer {
    @safe
    private enum Storage {
        case none
        /// Of `malloc`.
        case small(UnsafeMutableRawPointer, capacity: Int)
        case large(BodyStock.Block, of: BodyStock)
    }

    private var storage = Storage.none
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

    /// Whether there is anything to free.
    var hasMemory: Bool { if case .none = storage { share != nil } else { true } }

    private var base: UnsafeMutableRawPointer? {
        switch storage {
        case .none: nil
        case .small(let base, _): unsafe base
        case .large(let block, _): unsafe block.base
        }
    }

    private var capacity: Int {
        switch storage {
        case .none: 0
        case .small(_, let capacity): capacity
        case .large(let block, _): block.capacity
        }
    }

    /// Allocates exactly as much as was declared, so that nothing is moved later.
    ///
    /// - Parameters:
    ///   - byteCount: How many bytes there must be room for.
    ///   - stock: Lends the memory if that is much.
    /// - Returns: Whether there is memory.
    mutating func reserve(_ byteCount: Int, from stock: BodyStock) -> Bool {
        guard byteCount > capacity else { return true }
        if byteCount < BodyStock.threshold {
            // What there is can only be small too.
            guard let grown = unsafe realloc(base, byteCount) else { return false }
            storage = unsafe .small(grown, capacity: byteCount)
            return true
        }
        guard let block = stock.take(byteCount) else { return false }
        if let base = unsafe base { unsafe memcpy(block.base, base, self.byteCount) }
        release()
        storage = .large(block, of: stock)
        return true
    }

    /// Appends bytes where there is room for them; without, see ``makeRoom(for:limit:from:)``.
    ///
    /// - Returns: Whether there was room.
    mutating func append(_ bytes: UnsafeRawBufferPointer) -> Bool {
        let needed = byteCount + bytes.count
        guard needed <= capacity else { return false }
        guard let base = unsafe base, let source = bytes.baseAddress else { return true }
        unsafe memcpy(base + byteCount, source, bytes.count)
        byteCount = needed
        return true
    }

    /// Grows by doubling, within a limit that leaves room for so many bytes more.
    mutating func makeRoom(for byteCount: Int, limit: Int, from stock: BodyStock) -> Bool {
        reserve(max(self.byteCount + byteCount, min(2 * capacity, limit)), from: stock)
    }

    /// Hands the bytes over.
    mutating func take() -> Body {
        defer { self = BodyBuffer() }
        switch storage {
        case .none:
            return Body(buffer: nil)
        case .small(let base, _):
            return unsafe Body(
                buffer: OwnedBuffer(owning: base, byteCount: byteCount, share: share))
        case .large(let block, let stock):
            return Body(
                buffer: OwnedBuffer(of: block, byteCount: byteCount, from: stock, share: share))
        }
    }

    /// Frees what was not taken.
    mutating func discard() {
        release()
        self = BodyBuffer()
    }

    private func release() {
        switch storage {
        case .none: break
        case .small(let base, _): unsafe free(base)
        case .large(let block, let stock): stock.give(block)
        }
    }
}
