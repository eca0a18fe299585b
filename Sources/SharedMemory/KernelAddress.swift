import Glibc

/// Where a segment's name leads to in the kernel: equal addresses are one segment, whatever the
/// names that led there.
public enum KernelAddress: Hashable, Sendable {
    /// A name in /dev/shm, in UTF-8: the kernel compares bytes, not characters.
    case posix([UInt8])
    /// A System V key.
    case systemV(Int32)
    /// The number of a System V segment that has no key.
    case identifier(CInt)
}

extension SegmentName {
    /// Follows the name as far as there is something: to the key file's key, for instance.
    ///
    /// Whether a segment is there is another question.
    ///
    /// - Returns: The address; `nil` when a key file or a numbered segment is missing.
    /// - Throws: ``SegmentError`` with `.keyError` when the key cannot name a segment, or what
    ///   the system refused.
    public func address() throws(SegmentError) -> KernelAddress? {
        switch self {
        case .identifier(let identifier):
            guard let status = try? SystemVStatus(of: identifier) else {
                // Another user's segment cannot be asked, but listed it is.
                return errno == EACCES ? .identifier(identifier) : nil
            }
            return status.isMarkedForRemoval || status.key == 0
                ? .identifier(identifier) : .systemV(status.key)
        case .key(let key):
            try key.requireUsable()
            switch key.type {
            case .posix:
                return .posix(Array(key.posixName.utf8))
            case .systemV(let projectID):
                do throws(SystemCallError) {
                    return .systemV(try KeyFile.find(key.value, projectID: projectID).key)
                } catch {
                    if error.number == ENOENT || error.number == ENOTDIR { return nil }
                    throw SegmentError(error, key: key.description)
                }
            case .windows:
                return nil
            }
        }
    }

    /// Follows the name, making a System V key file where there is none.
    ///
    /// - Returns: The address, and whether a file was made: whoever then creates no segment calls
    ///   ``discardKeyFile()``.
    /// - Throws: ``SegmentError`` with `.keyError` where no file can be made.
    package func addressMakingKeyFile() throws(SegmentError) -> (KernelAddress, madeFile: Bool)? {
        guard case .key(let key) = self, case .systemV(let projectID) = key.type else {
            return try address().map { ($0, false) }
        }
        try key.requireUsable()
        do throws(SystemCallError) {
            let made = try KeyFile.findOrCreate(key.value, projectID: projectID)
            return (.systemV(made.file.key), made.isNew)
        } catch {
            throw SegmentError(keyFile: error, key: key.description)
        }
    }

    /// Removes the key file of a segment that was not created after all.
    package func discardKeyFile() {
        guard case .key(let key) = self, case .systemV(let projectID) = key.type else { return }
        guard let file = try? KeyFile.find(key.value, projectID: projectID),
            shmget(file.key, 0, 0) == -1
        else { return }
        file.remove()
    }

    /// What a file is, apart from its path: two System V paths with one key are one segment only
    /// if they are one file.
    package var keyFileIdentity: (device: UInt64, inode: UInt64)? {
        guard case .key(let key) = self, case .systemV(let projectID) = key.type,
            let file = try? KeyFile.find(key.value, projectID: projectID)
        else { return nil }
        return (file.identity.device, file.identity.inode)
    }
}

extension NativeKey {
    /// Whether there is a segment of this key.
    ///
    /// Asks no more than that: who holds it costs a look at every process.
    package var hasSegment: Bool {
        switch type {
        case .posix:
            return SharedMemoryFile.identity(named: posixName) != nil
        case .systemV(let projectID):
            guard let file = try? KeyFile.find(value, projectID: projectID) else { return false }
            return shmget(file.key, 0, 0) != -1
        case .windows:
            return false
        }
    }

    /// Throws when the key cannot name a segment on this system.
    func requireUsable() throws(SegmentError) {
        do throws(KeyIssue) { try validate() } catch {
            throw SegmentError(.keyError, key: description, reason: error.description)
        }
        guard type != .windows else {
            throw SegmentError(
                .keyError, key: description, reason: "Windows keys name nothing here")
        }
    }
}

extension SegmentError {
    /// Translates the failure to make a key file: with no file there is no key.
    init(keyFile cause: SystemCallError, key: String) {
        let code: Code =
            switch cause.number {
            case EACCES, EPERM, EROFS: .permissionDenied
            case EMFILE, ENFILE, ENOSPC, EDQUOT, ENOMEM: .outOfResources
            default: .keyError
            }
        self.init(code, key: key, cause: cause, reason: "the key file")
    }
}
