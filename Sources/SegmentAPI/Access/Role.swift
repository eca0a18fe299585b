/// What a caller may do; each role includes those before it.
public enum Role: String, Sendable, CaseIterable, Comparable {
    /// Read, list and watch.
    case inspect
    /// Open sessions, create, attach, write and lock.
    case use
    /// Use force and delete.
    case admin

    /// Whether a role is included in another.
    public static func < (first: Role, second: Role) -> Bool { first.rank < second.rank }

    private var rank: Int {
        switch self {
        case .inspect: 0
        case .use: 1
        case .admin: 2
        }
    }
}
