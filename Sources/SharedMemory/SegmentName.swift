/// What a segment is called: by its key, or by the kernel's number where it has none.
public enum SegmentName: Hashable, Sendable, CustomStringConvertible {
    /// A native key, which others can use as well.
    case key(NativeKey)
    /// The number that `ipcs` shows as shmid.
    case identifier(CInt)

    /// The text form of the key, or `shmid:` and the number.
    public var description: String {
        switch self {
        case .key(let key): key.description
        case .identifier(let identifier): "shmid:\(identifier)"
        }
    }
}
