/// What is remembered of the last look at a path, so that the next one need not follow the path.
///
/// Whatever makes a path lead elsewhere first changes something that can be asked for less than the path
/// costs, and that tells when it was changed last: a file of tmpfs that its name is taken from, or the
/// directory that a file lies in. While it tells the same moment as when the path was followed, the path
/// leads where it led then. Such a moment counts once it is long over: soon after it another change could
/// bear the same, or the one that bears it still be under way.
///
/// Nothing of that tells of a directory further up that was moved, or of another file system that was
/// mounted there, so the path is followed all the same a few times a second.
struct NameMemory {
    private var changedAt: Int64?
    private var lookedAt = Int64.min

    /// For how long a look at the path is good, in nanoseconds.
    private static let patience: Int64 = 100_000_000
    /// How long ago a change must be to count, in nanoseconds.
    private static let settlingTime: Int64 = 2_000_000_000

    /// Whether it is worth while to follow the path anew: the last time is long enough ago.
    ///
    /// - Parameter now: The clock's last tick.
    /// - Returns: Whether it is.
    func isOld(at now: WallTime) -> Bool {
        let age = now.sinceEpoch &- lookedAt
        return age < 0 || age >= Self.patience
    }

    /// Whether the path was followed so short a time ago, and nothing had changed for so long then, that
    /// to ask for a change is enough.
    ///
    /// - Parameter now: The clock's last tick, before that is asked.
    /// - Returns: Whether it is.
    func isFresh(at now: WallTime) -> Bool { changedAt != nil && !isOld(at: now) }

    /// Whether what tells this of itself has not changed since the path was followed.
    func knows(_ status: FileStatus) -> Bool {
        status.linkCount > 0 && status.changedAt.sinceEpoch == changedAt
    }

    /// Remembers that the path was followed.
    ///
    /// - Parameters:
    ///   - status: What the file, or the directory, told no later than that.
    ///   - now: The clock's last tick, before that.
    mutating func remember(_ status: FileStatus, at now: WallTime) {
        let change = status.changedAt.sinceEpoch
        changedAt = change < now.sinceEpoch - Self.settlingTime ? change : nil
        lookedAt = now.sinceEpoch
    }
}

extension WallTime {
    /// The moment in nanoseconds since the beginning of 1970.
    fileprivate var sinceEpoch: Int64 { seconds &* 1_000_000_000 &+ nanoseconds }
}
