internal import Glibc
internal import Synchronization

/// The memory of large bodies, which is kept for a moment so that the next one finds it warm.
///
/// A block that is fresh from the system is cleared page by page as it is first touched, which takes
/// longer than to receive the bytes. What nobody wanted between two calls of ``trim()`` goes back to
/// the system.
final class BodyStock: Sendable {
    /// Memory of its own, page by page.
    @safe
    struct Block: @unchecked Sendable {
        // Sendable: an address, which whoever has the block is free to write to.
        let base: UnsafeMutableRawPointer
        let capacity: Int
        /// Whether it has been a spare, so that all of it may be in memory already.
        fileprivate(set) var isWarm = false

        init?(capacity: Int) {
            let pages = (capacity + 4095) / 4096
            let address = unsafe mmap(
                nil, pages * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
            guard let address = unsafe address, unsafe address != MAP_FAILED else { return nil }
            unsafe base = address
            self.capacity = pages * 4096
        }

        func free() { _ = unsafe munmap(base, capacity) }
    }

    private struct State {
        var spares: [Block] = []
        /// The sum of the spares and of what was a spare and is lent.
        var warmByteCount = 0
        var lentCount = 0
        /// How many of the spares, the oldest ones, have been there since the last trimming.
        var staleCount = 0
        var isClosed = false
    }

    private let state = Mutex(State())
    private let memory: BodyMemory

    /// - Parameter memory: What bodies may take together; spares are kept where it has room for them.
    init(within memory: BodyMemory) { self.memory = memory }

    /// How large a body must be to come here; smaller ones are well served by `malloc`.
    static let threshold = 128 * 1024

    /// How many bytes are warm at most.
    ///
    /// That holds for those that are lent too: the body they are for may never come, and takes only as
    /// much of the memory for all as has come of it.
    private static let limit = 128 * 1024 * 1024

    /// Whether there is something to trim, now or once it comes back.
    var isInUse: Bool { state.withLock { $0.lentCount > 0 || !$0.spares.isEmpty } }

    /// Lends a block with room for so many bytes; nil where there is no memory.
    func take(_ byteCount: Int) -> Block? {
        let spare = state.withLock { state -> Block? in
            state.lentCount += 1
            // A small body would keep a large block from a large one.
            let fitting = state.spares.lastIndex {
                $0.capacity >= byteCount && $0.capacity / 4 <= byteCount
            }
            guard let last = fitting else { return nil }
            if last < state.staleCount { state.staleCount -= 1 }
            return state.spares.remove(at: last)
        }
        if let block = spare ?? Block(capacity: byteCount) { return block }
        state.withLock { $0.lentCount -= 1 }
        return nil
    }

    /// Takes a block back, from any thread.
    func give(_ block: Block) {
        var block = block
        let isKept = state.withLock { state in
            state.lentCount -= 1
            if !block.isWarm { state.warmByteCount += block.capacity }
            block.isWarm = true
            let sum = state.warmByteCount
            guard !state.isClosed, sum <= Self.limit, memory.hasRoom(for: sum) else {
                state.warmByteCount -= block.capacity
                return false
            }
            state.spares.append(block)
            return true
        }
        if !isKept { block.free() }
    }

    /// Gives back to the system what has been there since the last call.
    func trim() {
        let stale = state.withLock { state in
            let stale = Array(state.spares.prefix(state.staleCount))
            state.spares.removeFirst(stale.count)
            state.warmByteCount -= stale.reduce(0) { $0 + $1.capacity }
            state.staleCount = state.spares.count
            return stale
        }
        for block in stale { block.free() }
    }

    /// Gives everything back to the system, and from now on at once.
    func close() {
        let all = state.withLock { state in
            defer { state.spares = [] }
            state.isClosed = true
            state.staleCount = 0
            state.warmByteCount -= state.spares.reduce(0) { $0 + $1.capacity }
            return state.spares
        }
        for block in all { block.free() }
    }
}
