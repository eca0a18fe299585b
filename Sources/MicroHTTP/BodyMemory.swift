internal import Synchronization

/// How much memory the bodies of all requests take together, and how much they may.
final class BodyMemory: Sendable {
    let limit: Int
    private let used = Atomic(0)

    init(limit: Int) { self.limit = limit }

    /// Whether there is room for so many bytes more, as far as can be told beforehand.
    func hasRoom(for byteCount: Int) -> Bool {
        byteCount <= limit - used.load(ordering: .relaxed)
    }

    /// Takes room for so many bytes.
    ///
    /// - Returns: Whether there was any; nothing is taken otherwise.
    fileprivate func take(_ byteCount: Int) -> Bool {
        // Only the sum matters, and nothing is published by it.
        let sum = used.add(byteCount, ordering: .relaxed).newValue
        if sum <= limit { return true }
        giveBack(byteCount)
        return false
    }

    fileprivate func giveBack(_ byteCount: Int) {
        used.subtract(byteCount, ordering: .relaxed)
    }
}

/// What one body takes of the memory for all, until it is let go of.
final class BodyShare: @unchecked Sendable {
    // Sendable: the count is changed while the body arrives, on one thread, and given back by whoever
    // has the last reference.
    private let memory: BodyMemory
    private var byteCount = 0

    init(of memory: BodyMemory) { self.memory = memory }

    deinit { memory.giveBack(byteCount) }

    /// Takes as much as a body of so many bytes needs.
    ///
    /// - Returns: Whether there was room.
    func grow(to byteCount: Int) -> Bool {
        guard memory.take(byteCount - self.byteCount) else { return false }
        self.byteCount = byteCount
        return true
    }
}
