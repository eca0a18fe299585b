/// An operating system, as far as it decides what keys look like and how segments live.
///
/// Only Linux is what this library runs on. The other rules are here as pure functions, so that
/// keys can be derived and judged for peers elsewhere. The rules for Linux were compared with
/// Qt 6.11 at work; those for Apple platforms and Windows follow Qt's documentation and source,
/// and were not observed.
///
/// How long a segment lives differs more than its name does:
///
/// - On Unix a segment belongs to its users. The last one to detach removes it; if that one
///   crashes instead, the segment survives it.
/// - On Windows it belongs to the kernel, which releases it when the last process that is
///   attached detaches or ends, in whatever way.
/// - HP-UX, for which there is no case here, lets a process attach a segment only once: there
///   a segment cannot be shared by attachments of several threads.
public enum Platform: Hashable, Sendable {
    /// Linux.
    case linux

    /// An Apple platform, outside the application sandbox.
    ///
    /// Names of POSIX objects hold at most 30 bytes there, so derived names are cut.
    case apple

    /// An Apple platform, inside the application sandbox: whatever comes from its App Store.
    ///
    /// Only POSIX memory is allowed, and only under names of the form
    /// `<application group identifier>/<name>` of at most 30 characters. Nothing is added to
    /// such a name or cut from it. The system keeps named segments after their processes have
    /// ended; an application that finds its segment left over from an earlier run attaches to
    /// it when creating it fails with "already exists".
    ///
    /// With an application group, ``NativeKey/validate(on:)`` insists on that group.
    case appleSandboxed(applicationGroup: String?)

    /// Windows.
    case windows

    /// Tells whether segments of a kind can exist on this platform.
    ///
    /// - Parameter type: The kind of memory.
    /// - Returns: Whether a key of that kind can be used.
    public func supports(_ type: KeyType) -> Bool {
        switch (self, type) {
        case (.linux, .posix), (.linux, .systemV(projectID: _)): true
        case (.apple, .posix), (.apple, .systemV(projectID: _)): true
        case (.appleSandboxed, .posix): true
        case (.windows, .windows): true
        default: false
        }
    }

    /// The kind of memory that Qt uses for a key which does not say: `DefaultTypeForOs`.
    public var defaultKeyType: KeyType {
        self == .windows ? .windows : .posix
    }

    /// The kind of memory that Qt used before version 6.6, and uses still for legacy keys:
    /// `legacyDefaultTypeForOs()`.
    public var legacyDefaultKeyType: KeyType {
        switch self {
        case .linux, .apple: .systemV
        case .appleSandboxed: .posix
        case .windows: .windows
        }
    }
}
