import Synchronization

/// What is remembered of the last look at the path of a file of tmpfs, so that the next one need not
/// follow the path.
///
/// Whatever takes a name from a file, or gives it another, first changes the file itself, which tells
/// when it was changed last. While it tells the same moment as when its path was followed, the path
/// leads there still. Such a moment counts once it is long over: soon after it another change could
/// bear the same, or the one that bears it still be under way.
///
/// Nothing of that tells of a directory above the file that was moved, or of another file system that
/// was mounted there, so the path is followed all the same a few times a second.
final class NameMemory: Sendable {
    // Each by itself: when two threads look at once, the path is followed once more at worst.
    private let changedAt = Atomic<Int64>(.min)
    private let lookedAt = Atomic<Int64>(.min)

    /// For how long a look at the path is good, in nanoseconds.
    private static let patience: Int64 = 100_000_000
    /// How long ago a change must be to count, in nanoseconds.
    private static let settlingTime: Int64 = 2_000_000_000

    /// Whether the path was followed so short a time ago that the file itself can tell of its name.
    ///
    /// - Parameter now: The clock's last tick, before the file is asked.
    /// - Returns: Whether it was.
    func isFresh(at now: WallTime) -> Bool {
        let age = now.sinceEpoch &- lookedAt.load(ordering: .relaxed)
        return age >= 0 && age < Self.patience
    }

    /// Whether a file that tells this of itself still has the name.
    func knows(_ status: FileStatus) -> Bool {
        status.linkCount > 0
            && status.changedAt.sinceEpoch == changedAt.load(ordering: .relaxed)
    }

    /// Remembers what the file told when its path was followed.
    ///
    /// - Parameters:
    ///   - status: What it told.
    ///   - now: The clock's last tick, before that.
    func remember(_ status: FileStatus, at now: WallTime) {
        let change = status.changedAt.sinceEpoch
        guard change < now.sinceEpoch - Self.settlingTime else { return }
        changedAt.store(change, ordering: .relaxed)
        lookedAt.store(now.sinceEpoch, ordering: .relaxed)
    }
}

extension WallTime {
    /// The moment in nanoseconds since the beginning of 1970.
    fileprivate var sinceEpoch: Int64 { seconds &* 1_000_000_000 &+ nanoseconds }
}
