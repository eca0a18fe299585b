/// A kind of file system, by the magic number that statfs(2) tells.
struct FileSystemKind: RawRepresentable, Hashable, Sendable {
    let rawValue: Int64

    static let tmpfs = FileSystemKind(rawValue: 0x0102_1994)
    static let ramfs = FileSystemKind(rawValue: 0x8584_58f6)
    /// ext2, ext3 and ext4.
    static let ext = FileSystemKind(rawValue: 0xef53)
    static let xfs = FileSystemKind(rawValue: 0x5846_5342)
    static let btrfs = FileSystemKind(rawValue: 0x9123_683e)
    static let overlay = FileSystemKind(rawValue: 0x794c_7630)

    /// Whether it lives in memory.
    var isInMemory: Bool { self == .tmpfs || self == .ramfs }

    /// Whether a file tells when a name was given to it or taken from it last.
    var filesTellOfNames: Bool { self == .tmpfs }

    /// Whether a directory tells, to every process at once, when a name in it was made, changed or
    /// removed last.
    ///
    /// File systems of other machines, and of programs, may tell what they heard some time ago.
    var directoriesTellOfNames: Bool {
        switch self {
        case .tmpfs, .ext, .xfs, .btrfs, .overlay: true
        default: false
        }
    }
}
