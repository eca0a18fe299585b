import Glibc
import Synchronization

/// Qt's directory of temporary files, known once and for all.
///
/// It spares most requests the longer way to the same answer, for they come for a segment whose key
/// file lies right in it.
package final class KeyFileDirectory: Sendable {
    private let path: String
    /// Open only where the directory tells when a name in it changed.
    private let descriptor: FileDescriptor

    package init(_ environment: KeyEnvironment) {
        path = environment.temporaryLocation
        let flags = ParentDirectory.pathOnly | O_DIRECTORY | O_CLOEXEC
        let opened = FileDescriptor(owning: unsafe open(path, flags))
        let tells = opened.fileSystem?.directoriesTellOfNames == true
        descriptor = tells ? opened : FileDescriptor(owning: -1)
    }

    /// The key file of a name, if it lies right in the directory and its key can name a segment.
    package func file(of name: SegmentName) -> PlainKeyFile? {
        guard case .key(let key) = name, case .systemV(let projectID) = key.type,
            holds(key.value), (try? key.validate()) != nil
        else { return nil }
        return PlainKeyFile(key.value, projectID: projectID, in: self)
    }

    private func holds(_ path: String) -> Bool {
        let path = path.utf8.span
        let directory = self.path.utf8.span
        let slash = directory.count
        // `.` and `..` are no files of their own.
        guard path.count > slash + 3, path[slash] == UInt8(ascii: "/") else { return false }
        for index in 0..<slash where path[index] != directory[index] { return false }
        for index in (slash + 1)..<path.count where path[index] == UInt8(ascii: "/") {
            return false
        }
        return true
    }

    /// What the directory tells of itself.
    fileprivate var status: FileStatus? {
        descriptor.rawValue >= 0 ? try? descriptor.status() : nil
    }

    /// What the directory tells of itself; nil if its path leads elsewhere by now.
    fileprivate var statusInPlace: FileStatus? {
        guard let status else { return nil }
        var now = stat()
        guard unsafe stat(path, &now) == 0, FileStatus(now).identity == status.identity else {
            return nil
        }
        return status
    }
}

/// A key file, there or not, that lies right in Qt's directory of temporary files.
package final class PlainKeyFile: Sendable {
    private struct LastLook {
        var name = NameMemory()
        var key: key_t = 0
    }

    private let path: String
    private let projectID: UInt8
    private let directory: KeyFileDirectory
    private let lastLook = Mutex(LastLook())

    fileprivate init(_ path: String, projectID: UInt8, in directory: KeyFileDirectory) {
        self.path = path
        self.projectID = projectID
        self.directory = directory
    }

    /// Where it leads; nil if it is not there or a symbolic link, which both takes a closer look.
    ///
    /// For a file that is asked for again and again: mostly the directory answers, by telling that no name
    /// in it changed.
    package var address: KernelAddress? {
        let now = WallTime.lastTick
        let last = lastLook.withLock { $0 }
        if last.name.isFresh(at: now), let status = directory.status, last.name.knows(status) {
            return .systemV(last.key)
        }
        guard last.name.isOld(at: now), let status = directory.statusInPlace else {
            return look()
        }
        guard case .systemV(let key) = look() else { return nil }
        lastLook.withLock {
            $0.name.remember(status, at: now)
            $0.key = key
        }
        return .systemV(key)
    }

    /// The ``address``, by one look at the path.
    package func look() -> KernelAddress? {
        guard let status = FileStatus(atPath: path), !status.isSymbolicLink else { return nil }
        return .systemV(KeyFile.key(of: status.identity, projectID: projectID))
    }
}
