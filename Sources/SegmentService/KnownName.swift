public import SharedMemory
import Synchronization

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

    /// A look at where the name leads, by one request of a batch.
    private struct Look {
        var entry: EntryID
        var batch: UInt64
    }

    /// The last look of each thread, or of a few that share a place.
    private let looks = Mutex(InlineArray<4, Look?>(repeating: nil))

    /// The entry of the segment that a request of the batch saw the name lead to.
    func entry(seenIn batch: UInt64) -> EntryID? {
        let look = looks.withLock { $0[Self.place(of: batch)] }
        guard let look, look.batch == batch else { return nil }
        return look.entry
    }

    /// Notes that a request of the batch saw the name lead to the segment of an entry.
    func noteLook(at entry: EntryID, in batch: UInt64) {
        looks.withLock { $0[Self.place(of: batch)] = Look(entry: entry, batch: batch) }
    }

    private static func place(of batch: UInt64) -> Int { Int(batch % 4) }

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
