import CSharedMemory
import Glibc

/// Which shared memory this process sees: that of its IPC namespace and of its /dev/shm.
///
/// Two processes share segments if both are the same for them. A process that stays in a namespace
/// which others have left goes on seeing what they left there, and nothing new.
public struct HostMemory: Hashable, Sendable {
    /// The file system at /dev/shm.
    public struct FileSystem: Hashable, Sendable {
        /// The number of its device, which tells one such file system from another.
        public let device: UInt64
        /// The number of its root.
        public let inode: UInt64
        /// Its size in bytes; 0 where it has no limit of its own.
        public let byteCount: Int
        /// How many of them are free.
        public let freeByteCount: Int
        /// Whether it lives in memory, as it should.
        public let isInMemory: Bool
    }

    /// The number of the IPC namespace, where the System V segments are; nil if it is not told.
    public let namespace: UInt64?
    /// The file system where the POSIX segments are; nil if there is none.
    public let fileSystem: FileSystem?

    /// How much memory the machine has, in bytes.
    public static var physicalByteCount: Int {
        max(1, sysconf(CInt(_SC_PHYS_PAGES))) * max(1, sysconf(CInt(_SC_PAGESIZE)))
    }

    /// What this process sees now.
    public static var now: HostMemory {
        var status = stat()
        let namespace =
            unsafe stat("/proc/self/ns/ipc", &status) == 0 ? UInt64(status.st_ino) : nil
        return HostMemory(namespace: namespace, fileSystem: fileSystemNow)
    }

    private static var fileSystemNow: FileSystem? {
        var status = stat()
        var (kind, byteCount, freeByteCount): (Int64, Int64, Int64) = (0, 0, 0)
        let path = SharedMemoryFile.directory
        guard unsafe stat(path, &status) == 0,
            unsafe csharedmemory_file_system(path, &kind, &byteCount, &freeByteCount) == 0
        else { return nil }
        return FileSystem(
            device: UInt64(status.st_dev), inode: UInt64(status.st_ino),
            byteCount: Int(byteCount), freeByteCount: Int(freeByteCount),
            isInMemory: FileSystemKind(rawValue: kind).isInMemory)
    }
}
