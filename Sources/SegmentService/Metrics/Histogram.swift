import Synchronization

/// Counts durations by how long they were.
///
/// Any thread may record at any time: that is one addition to a bucket and one to the sum, and
/// neither locks, allocates nor waits.
public final class Histogram: Sendable {
    /// The upper ends of the buckets, in nanoseconds; what is longer than all falls into one more.
    public static let bounds: [UInt64] = [
        50_000, 100_000, 250_000, 500_000, 1_000_000, 5_000_000, 10_000_000, 50_000_000,
        100_000_000, 500_000_000, 1_000_000_000, 5_000_000_000, 30_000_000_000, 300_000_000_000,
    ]

    // Relaxed everywhere: each number is right by itself, and a reader that sees one a moment
    // before another is no worse off than one that looked a moment earlier.
    private let buckets = InlineArray<15, Atomic<Int>> { _ in Atomic(0) }
    private let total = Atomic<UInt64>(0)

    /// Makes an empty one.
    public init() {}

    /// Counts a duration.
    ///
    /// - Parameter nanoseconds: How long it was.
    public func record(nanoseconds: UInt64) {
        var index = 0
        while index < 14, nanoseconds > Self.bounds[index] { index += 1 }
        buckets[index].add(1, ordering: .relaxed)
        total.add(nanoseconds, ordering: .relaxed)
    }

    /// How many durations fell into each bucket and no lower one; one more than there are bounds.
    public var counts: [Int] {
        (0..<15).map { buckets[$0].load(ordering: .relaxed) }
    }

    /// All durations together, in nanoseconds.
    public var sum: UInt64 { total.load(ordering: .relaxed) }
}
