import CSharedMemory
import Glibc

/// An open file descriptor, closed when its owner is done with it.
struct FileDescriptor: ~Copyable, Sendable {
    let rawValue: CInt

    init(owning rawValue: CInt) { self.rawValue = rawValue }

    deinit { if rawValue >= 0 { _ = close(rawValue) } }

    /// What the file is now.
    func status() throws(SystemCallError) -> FileStatus {
        var status = stat()
        try systemCall("fstat") { unsafe fstat(rawValue, &status) }
        return FileStatus(status)
    }

    /// What kind of file system the file lies on; nil when that cannot be told.
    var fileSystem: FileSystemKind? {
        let number = csharedmemory_kind_of_file_system(rawValue)
        return number == -1 ? nil : FileSystemKind(rawValue: number)
    }

    /// How long the file is now, in bytes.
    ///
    /// Asks for less than ``status()``, and costs less than half. Moves the offset, which nobody uses.
    func byteCount() throws(SystemCallError) -> Int {
        let end = lseek(rawValue, 0, SEEK_END)
        guard end >= 0 else { throw SystemCallError(call: "lseek", number: errno) }
        return end
    }
}

/// The parts of a file's status that decide anything here.
struct FileStatus: Sendable {
    let identity: FileIdentity
    let byteCount: Int
    /// How much memory or disk it has, in bytes; less than ``byteCount`` where it has holes.
    let reservedByteCount: Int
    let linkCount: Int
    let owner: UInt32
    let group: UInt32
    let mode: UInt32
    /// When anything of it but its bytes was changed last, its names among that.
    let changedAt: WallTime

    init(_ status: stat) {
        identity = FileIdentity(device: UInt64(status.st_dev), inode: UInt64(status.st_ino))
        byteCount = Int(status.st_size)
        reservedByteCount = Int(status.st_blocks) * 512
        linkCount = Int(status.st_nlink)
        owner = status.st_uid
        group = status.st_gid
        mode = status.st_mode
        changedAt = WallTime(
            seconds: Int64(status.st_ctim.tv_sec), nanoseconds: Int64(status.st_ctim.tv_nsec))
    }

    /// What has a path now, a symbolic link itself and not what it leads to; `nil` when nothing has,
    /// or it cannot be looked at.
    init?(atPath path: String) {
        var status = stat()
        guard unsafe lstat(path, &status) == 0 else { return nil }
        self.init(status)
    }

    var isRegularFile: Bool { mode & S_IFMT == S_IFREG }
    var isSymbolicLink: Bool { mode & S_IFMT == S_IFLNK }
    var permissions: UInt32 { mode & 0o7777 }
}

/// The one file that a name leads to: two names with equal identities are one file.
package struct FileIdentity: Hashable, Sendable {
    package let device: UInt64
    package let inode: UInt64

    package init(device: UInt64, inode: UInt64) {
        self.device = device
        self.inode = inode
    }
}
