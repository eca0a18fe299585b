public import SharedMemory

/// A segment's name as it was read once: as long as it is kept, whoever reads the same gets this one,
/// and knows it again without comparing letters.
public final class KnownName: Sendable {
    /// The name.
    public let name: SegmentName
    /// Whether what was read will always say this name, as all do but the number of a segment.
    public let isLasting: Bool

    /// Whether it has a key file that lies right in Qt's directory of temporary files, by a key that
    /// can name a segment: then one look at that file tells where it leads.
    let hasPlainFile: Bool
    /// Where it leads, if that is always the same: all names of POSIX segments do, whether there is one or
    /// not.
    let lastingAddress: KernelAddress?

    /// Makes it known.
    ///
    /// - Parameters:
    ///   - name: The name.
    ///   - isLasting: Whether what was read will always say this name.
    public convenience init(_ name: SegmentName, isLasting: Bool = true) {
        self.init(name, isLasting: isLasting, hasPlainFile: false)
    }

    init(_ name: SegmentName, isLasting: Bool, hasPlainFile: Bool) {
        self.name = name
        self.isLasting = isLasting
        self.hasPlainFile = hasPlainFile
        if case .key(let key) = name, key.type == .posix {
            lastingAddress = try? name.address()
        } else {
            lastingAddress = nil
        }
    }
}
