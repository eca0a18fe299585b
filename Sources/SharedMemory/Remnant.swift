import Glibc

/// A segment that was let go of before it was decided whether that was its last reference.
///
/// The decision needs the lock, and whoever holds that may keep it for long; to stay attached
/// meanwhile would make this holder the last one instead of the process that detaches next. So the
/// memory goes at once, and the rest when the lock is to be had.
package struct Remnant: Sendable {
    enum Object: Sendable {
        case posix(String, FileIdentity)
        case systemV(CInt, KeyFile?)
    }

    private let object: Object

    init(_ object: Object) { self.object = object }

    /// Whether nobody has the segment since it was let go of, and it is still there.
    ///
    /// Of a System V segment the kernel tells as well whether anybody had it in between.
    package var isUnused: Bool {
        switch object {
        case .posix: file?.useByOthers() == .unused
        case .systemV(let identifier, _): Self.isUnused(identifier)
        }
    }

    /// Removes the segment if nobody has it since it was let go of.
    ///
    /// The caller holds the lock.
    ///
    /// - Returns: Whether it was removed.
    package func removeUnlessUsed() -> Bool {
        switch object {
        case .posix:
            return file?.removeUnlessUsed() ?? false
        case .systemV(let identifier, let keyFile):
            guard Self.isUnused(identifier), shmctl(identifier, IPC_RMID, nil) == 0 else {
                return false
            }
            keyFile?.remove()
            return true
        }
    }

    // Opened anew, for the kernel answers only to one who has it open; whoever opens it later has
    // another file.
    private var file: SharedMemoryFile? {
        guard case .posix(let name, let identity) = object,
            SharedMemoryFile.identity(named: name) == identity,
            let file = try? SharedMemoryFile.open(named: name, mode: .readOnly),
            file.identity == identity
        else { return nil }
        return file
    }

    // The last to attach or detach was this process, when it let go.
    private static func isUnused(_ identifier: CInt) -> Bool {
        guard let status = try? SystemVStatus(of: identifier) else { return false }
        return status.attachCount == 0 && !status.isMarkedForRemoval
            && status.lastProcess == getpid()
    }
}
