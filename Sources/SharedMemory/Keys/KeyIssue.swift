/// Why a key cannot name a segment.
///
/// Every case carries the key; `description` is a sentence that contains it.
public enum KeyIssue: Error, Hashable, Sendable {
    /// The platform has no such kind of memory.
    case unsupportedType(NativeKey)

    /// The key is empty.
    case empty(NativeKey)

    /// The key contains a NUL, at which the kernel would stop reading.
    case containsNUL(NativeKey)

    /// The name has more bytes (on Windows: UTF-16 code units) than `limit`.
    case nameTooLong(NativeKey, count: Int, limit: Int)

    /// A POSIX key consists of slashes alone.
    case onlySlashes(NativeKey)

    /// A POSIX name contains a slash besides those in front.
    case containsSlash(NativeKey)

    /// A POSIX name is `.` or `..`, which mean directories.
    case namesDirectory(NativeKey)

    /// A System V key is a relative path, which means another file in every process.
    case relativePath(NativeKey)

    /// A System V path contains the component `..`, which can lead out of any directory.
    case parentComponent(NativeKey)

    /// A System V path has more bytes than `limit`.
    case pathTooLong(NativeKey, count: Int, limit: Int)

    /// A System V project id is zero.
    case zeroProjectID(NativeKey)

    /// A name in Apple's sandbox is not of the form `<application group>/<name>`.
    case outsideApplicationGroup(NativeKey, applicationGroup: String?)

    /// A Windows name contains a backslash that does not end a session prefix.
    case containsBackslash(NativeKey)
}

extension KeyIssue: CustomStringConvertible {
    /// A sentence that says what is wrong with which key.
    public var description: String {
        switch self {
        case .unsupportedType(let key):
            "The key \"\(key)\" is of type \(key.type), which this platform does not support."
        case .empty(let key):
            "The key \"\(key)\" is empty."
        case .containsNUL(let key):
            "The key \"\(key)\" contains a NUL character."
        case .nameTooLong(let key, let count, let limit):
            "The key \"\(key)\" has a name of length \(count); at most \(limit) are allowed."
        case .onlySlashes(let key):
            "The key \"\(key)\" has no name after its slashes."
        case .containsSlash(let key):
            "The key \"\(key)\" contains a slash inside its name."
        case .namesDirectory(let key):
            "The key \"\(key)\" names a directory, not a segment."
        case .relativePath(let key):
            "The key \"\(key)\" is not an absolute path."
        case .parentComponent(let key):
            "The key \"\(key)\" contains \"..\" in its path."
        case .pathTooLong(let key, let count, let limit):
            "The key \"\(key)\" has a path of \(count) bytes; at most \(limit) are allowed."
        case .zeroProjectID(let key):
            "The key \"\(key)\" has the project id 0; it must be from 1 to 255."
        case .outsideApplicationGroup(let key, let group):
            "The key \"\(key)\" is not of the form \"\(group ?? "<application group>")/<name>\"."
        case .containsBackslash(let key):
            "The key \"\(key)\" contains a backslash inside its name."
        }
    }
}
