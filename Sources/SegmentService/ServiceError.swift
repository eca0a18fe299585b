import Glibc
public import SharedMemory

/// Why the service refused or failed a request.
public struct ServiceError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The kinds of failure, each with the word that clients see.
    public enum Code: String, Hashable, Sendable, CaseIterable {
        // What Qt's error enumerators say.
        case keyError = "key-error"
        case invalidSize = "invalid-size"
        case alreadyExists = "already-exists"
        case notFound = "not-found"
        case permissionDenied = "permission-denied"
        case outOfResources = "out-of-resources"
        case unknownError = "unknown-error"
        // The state of segment, lock and session.
        case alreadyAttached = "already-attached"
        case inUse = "in-use"
        case keyCollision = "key-collision"
        case notAttached = "not-attached"
        case notLocked = "not-locked"
        case lockUnsupported = "lock-unsupported"
        case locked
        case readOnlyAttachment = "read-only-attachment"
        case staleFencingToken = "stale-fencing-token"
        case segmentTruncated = "segment-truncated"
        case outOfRange = "out-of-range"
        case sizeMismatch = "size-mismatch"
        case sessionRequired = "session-required"
        case sessionGone = "session-gone"
        case tooManySessions = "too-many-sessions"
        case shuttingDown = "shutting-down"
    }

    /// What to decide on.
    public let code: Code

    /// A sentence that names what is wrong.
    public let detail: String

    /// The enumerator of `QSharedMemory::SharedMemoryError` where Qt has one for it.
    public let qtError: String?

    /// Makes an error of the service's own.
    ///
    /// - Parameters:
    ///   - code: What to decide on.
    ///   - detail: A sentence that names what is wrong.
    public init(_ code: Code, _ detail: String) {
        self.code = code
        self.detail = detail
        self.qtError = Self.qtError(for: code)
    }

    /// Translates an error of the library.
    ///
    /// - Parameter error: What the library threw.
    public init(_ error: SegmentError) {
        let code: Code =
            switch error.code {
            case .permissionDenied: .permissionDenied
            case .invalidSize: .invalidSize
            case .keyError: .keyError
            case .alreadyExists: .alreadyExists
            case .notFound: .notFound
            // What lies under the name of the lock is something else than one.
            case .lockError where [EINVAL, ENXIO].contains(error.cause?.number): .lockUnsupported
            case .lockError, .unknownError: .unknownError
            case .outOfResources: .outOfResources
            case .keyCollision: .keyCollision
            case .truncated: .segmentTruncated
            case .readOnly: .readOnlyAttachment
            case .outOfRange: .outOfRange
            }
        self.code = code
        self.detail = error.description
        self.qtError = error.code == .lockError ? "LockError" : Self.qtError(for: code)
    }

    private static func qtError(for code: Code) -> String? {
        switch code {
        case .keyError: "KeyError"
        case .invalidSize: "InvalidSize"
        case .alreadyExists: "AlreadyExists"
        case .notFound: "NotFound"
        case .permissionDenied: "PermissionDenied"
        case .outOfResources: "OutOfResources"
        case .unknownError: "UnknownError"
        case .notAttached, .notLocked, .lockUnsupported, .locked: "LockError"
        default: nil
        }
    }

    /// The sentence.
    public var description: String { detail }
}
