internal import Synchronization

/// Requests that came in together: each had begun to arrive before the first of them was handled.
///
/// What was found out while one of them was handled is therefore news for all that are handled after it:
/// none was sent later than that was true.
public struct Batch: Hashable, Sendable {
    /// Different for every batch of the process.
    ///
    /// Those of one thread differ from those of the next in the lowest bits.
    public let number: UInt64

    /// A batch of the next thread.
    static func onNewThread() -> Batch {
        let thread = threads.add(1, ordering: .relaxed).oldValue
        return Batch(number: 1 << threadBits | thread & (1 << threadBits - 1))
    }

    /// The batch that comes after this one on its thread.
    var next: Batch { Batch(number: number + 1 << Self.threadBits) }

    private static let threadBits: UInt64 = 20
    private static let threads = Atomic<UInt64>(0)
}
