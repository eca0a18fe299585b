/// What the host tells of a segment, whoever made it, without attaching to it.
public struct SegmentDescription: Sendable {
    /// Its native key where it has one that is known, otherwise the kernel's number.
    public let name: SegmentName

    /// The size in bytes.
    public let byteCount: Int

    /// The user and group that own it, and its mode bits.
    public let owner: Owner

    /// The process that made it, where the kernel knows that and can see it from here.
    public let creatorProcess: Int?

    /// The process that last attached to or detached from a System V segment, where it can be seen
    /// from here.
    public let lastProcess: Int?

    /// When a System V segment was last attached to; `nil` when it never was.
    public let lastAttachedAt: WallTime?

    /// When a System V segment was last detached from; `nil` when it never was.
    public let lastDetachedAt: WallTime?

    /// When it was made, as far as the kernel keeps that: for System V the last change.
    public let createdAt: WallTime?

    /// The kernel's number of a System V segment.
    public let identifier: CInt?

    /// How many hold it: for System V the kernel's count of attachments, for POSIX the number of
    /// processes that were found to have it mapped or, when none can be seen but somebody has it,
    /// one.
    public let holderCount: Int

    /// Whether nobody holds it any more, in any process or namespace.
    public let isOrphaned: Bool

    /// Whether it was removed and lives on only with those who are attached.
    public let isMarkedForRemoval: Bool

    /// Owner and mode of a kernel object.
    public struct Owner: Hashable, Sendable {
        /// The user.
        public let user: UInt32
        /// The group.
        public let group: UInt32
        /// The nine permission bits.
        public let mode: UInt32
    }
}
