public import SharedMemory

/// A segment's name as it was read once: as long as it is kept, whoever reads the same gets this one,
/// and knows it again without comparing letters.
public final class KnownName: Sendable {
    /// The name.
    public let name: SegmentName
    /// Whether what was read will always say this name, as all do but the number of a segment.
    public let isLasting: Bool

    /// Its key file, where that lies in Qt's directory of temporary files and tells alone where the name
    /// leads.
    let keyFile: PlainKeyFile?
    /// Where it leads, if that is always the same: all names of POSIX segments do, whether there is one or
    /// not.
    let lastingAddress: KernelAddress?

    /// Makes it known.
    ///
    /// - Parameters:
    ///   - name: The name.
    ///   - isLasting: Whether what was read will always say this name.
    public convenience init(_ name: SegmentName, isLasting: Bool = true) {
        self.init(name, isLasting: isLasting, keyFile: nil)
    }

    init(_ name: SegmentName, isLasting: Bool, keyFile: PlainKeyFile?) {
        self.name = name
        self.isLasting = isLasting
        self.keyFile = keyFile
        if case .key(let key) = name, key.type == .posix {
            lastingAddress = try? name.address()
        } else {
            lastingAddress = nil
        }
    }
}
