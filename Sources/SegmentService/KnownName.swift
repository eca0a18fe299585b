public import SharedMemory

/// A segment's name as it was read once: as long as it is kept, whoever reads the same gets this one,
/// and knows it again without comparing letters.
public final class KnownName: Sendable {
    /// The name.
    public let name: SegmentName
    /// Whether what was read will always say this name, as all do but the number of a segment.
    public let isLasting: Bool

    /// Makes it known.
    ///
    /// - Parameters:
    ///   - name: The name.
    ///   - isLasting: Whether what was read will always say this name.
    public init(_ name: SegmentName, isLasting: Bool = true) {
        self.name = name
        self.isLasting = isLasting
    }
}
