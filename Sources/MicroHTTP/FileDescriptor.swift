internal import Glibc

/// An open file descriptor, closed when its owner is done with it.
final class FileDescriptor: Sendable {
    let rawValue: CInt

    /// Takes over what a system call returned; nil if that was a failure.
    init?(_ rawValue: CInt) {
        guard rawValue >= 0 else { return nil }
        self.rawValue = rawValue
    }

    deinit { _ = close(rawValue) }
}
