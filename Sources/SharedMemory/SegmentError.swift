import Glibc

/// Why an operation on a segment or its lock failed.
public struct SegmentError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The kinds of failure a caller can decide on.
    ///
    /// The first eight are the enumerators of `QSharedMemory::SharedMemoryError`; Qt tells the
    /// others apart only by its text, or not at all.
    public enum Code: Hashable, Sendable {
        /// The kernel refused this user the object.
        case permissionDenied
        /// The size is below one byte or above a limit of the kernel.
        case invalidSize
        /// The key is empty, malformed, or cannot be turned into a kernel object's name.
        case keyError
        /// A segment has the key.
        case alreadyExists
        /// No segment has the key.
        case notFound
        /// The lock could not be opened, or is not there.
        case lockError
        /// Memory, or a limit on the number of segments, semaphores or descriptors, is used up.
        case outOfResources
        /// None of the others; the system call and its error number tell.
        case unknownError
        /// Another key's file leads to the same System V key.
        case keyCollision
        /// A peer made the segment smaller than it was when it was attached.
        case truncated
        /// The segment is attached read-only.
        case readOnly
        /// The bytes asked for lie outside the segment.
        case outOfRange
    }

    /// What to decide on.
    public let code: Code

    /// The segment concerned, in the text form of its name.
    public let key: String

    /// The system call that failed and its error number, where one did.
    public let cause: SystemCallError?

    /// What was wrong, where no system call says it.
    public let reason: String?

    /// Makes an error about the segment with a key.
    ///
    /// - Parameters:
    ///   - code: What to decide on.
    ///   - key: The segment's name in its text form.
    ///   - cause: The system call that failed.
    ///   - reason: What was wrong, where no system call says it.
    public init(
        _ code: Code, key: String, cause: SystemCallError? = nil, reason: String? = nil
    ) {
        self.code = code
        self.key = key
        self.cause = cause
        self.reason = reason
    }

    /// Translates an error number as `QSharedMemory` does.
    init(_ cause: SystemCallError, key: String) {
        let code: Code =
            switch cause.number {
            case EACCES, EPERM: .permissionDenied
            case EEXIST: .alreadyExists
            case ENOENT: .notFound
            case EMFILE, ENFILE, ENOMEM, ENOSPC, EDQUOT: .outOfResources
            case ENAMETOOLONG: .keyError
            case EFBIG: .invalidSize
            default: .unknownError
            }
        self.init(code, key: key, cause: cause)
    }

    /// One sentence with the key in it.
    public var description: String {
        let what =
            switch code {
            case .permissionDenied: "permission denied for \(key)"
            case .invalidSize: "the size is not possible for \(key)"
            case .keyError: "the key \(key) cannot name a segment"
            case .alreadyExists: "a segment \(key) exists already"
            case .notFound: "there is no segment \(key)"
            case .lockError: "the lock of \(key) cannot be used"
            case .outOfResources: "the system has no more room for \(key)"
            case .unknownError: "the system refused an operation on \(key)"
            case .keyCollision: "the key \(key) leads to the same System V key as another file"
            case .truncated: "the segment \(key) was truncated by another process"
            case .readOnly: "the segment \(key) is attached read-only"
            case .outOfRange: "the bytes lie outside the segment \(key)"
            }
        let why = [reason, cause?.description].compactMap(\.self).joined(separator: ": ")
        return why.isEmpty ? what : "\(what): \(why)"
    }
}
