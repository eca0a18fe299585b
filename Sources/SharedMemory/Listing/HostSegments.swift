import CSharedMemory
import Glibc

/// The segments of this host, as far as this process's IPC namespace and /dev/shm show them.
///
/// One value is one look: what is asked of it is found once and kept.
public struct HostSegments: ~Copyable {
    private let environment: KeyEnvironment
    private var keyFiles: KeyFileIndex?
    private var holders: HolderIndex?

    /// Prepares a look.
    ///
    /// - Parameter environment: Says in which directories Qt keeps key files.
    public init(environment: KeyEnvironment) { self.environment = environment }

    /// Every segment: those of System V, and the regular files of /dev/shm that are neither
    /// semaphores nor being removed.
    ///
    /// - Returns: The descriptions, in no order.
    public mutating func all() -> [SegmentDescription] {
        systemV().map { describe($0) }
            + DirectoryListing.names(in: SharedMemoryFile.directory)
            .filter { !$0.hasPrefix("sem.") && !$0.hasPrefix(SharedMemoryFile.removalPrefix) }
            .compactMap { describePOSIX(named: $0) }
    }

    /// One segment.
    ///
    /// - Parameter name: Its key or number.
    /// - Returns: The description; `nil` when there is no such segment.
    public mutating func segment(_ name: SegmentName) -> SegmentDescription? {
        switch name {
        case .identifier(let identifier):
            return systemV().first { $0.identifier == identifier }.map { describe($0) }
        case .key(let key):
            switch key.type {
            case .posix:
                return describePOSIX(named: key.posixName, as: key)
            case .systemV(let projectID):
                guard let file = try? KeyFile.find(key.value, projectID: projectID) else {
                    return nil
                }
                return systemV().first { $0.key == file.key && !$0.isMarkedForRemoval }
                    .map { describe($0, as: key) }
            case .windows:
                return nil
            }
        }
    }

    /// The key of the file that a System V key was made of, if that lies where Qt keeps such files.
    ///
    /// - Parameter identifier: The kernel's number of a segment.
    /// - Returns: The native key; `nil` when there is no such segment, or no such file.
    public mutating func nativeKey(ofSegment identifier: CInt) -> NativeKey? {
        guard let status = try? SystemVStatus(of: identifier) else {
            guard let row = systemV().first(where: { $0.identifier == identifier }) else {
                return nil
            }
            return trace(row.key)
        }
        return status.isMarkedForRemoval ? nil : trace(status.key)
    }

    // MARK: System V

    private func systemV() -> [SystemVRow] {
        guard let text = FileContents.read("/proc/sysvipc/shm") else { return [] }
        return text.split(separator: UInt8(ascii: "\n")).dropFirst().compactMap(SystemVRow.init)
    }

    private mutating func describe(_ row: SystemVRow, as key: NativeKey? = nil)
        -> SegmentDescription
    {
        let native = key ?? (row.isMarkedForRemoval ? nil : trace(row.key))
        return SegmentDescription(
            name: native.map { .key($0) } ?? .identifier(row.identifier),
            byteCount: row.byteCount,
            owner: .init(user: row.user, group: row.group, mode: row.permissions & 0o777),
            creatorProcess: row.creator > 0 ? row.creator : nil,
            lastProcess: row.lastProcess > 0 ? row.lastProcess : nil,
            lastAttachedAt: row.attachedAt > 0
                ? WallTime(seconds: row.attachedAt, nanoseconds: 0) : nil,
            lastDetachedAt: row.detachedAt > 0
                ? WallTime(seconds: row.detachedAt, nanoseconds: 0) : nil,
            createdAt: WallTime(seconds: row.changedAt, nanoseconds: 0),
            identifier: row.identifier,
            holderCount: row.attachCount,
            isOrphaned: row.attachCount == 0,
            isMarkedForRemoval: row.isMarkedForRemoval)
    }

    private mutating func trace(_ key: key_t) -> NativeKey? {
        guard key != 0 else { return nil }
        if keyFiles == nil { keyFiles = KeyFileIndex(environment: environment) }
        return keyFiles?.nativeKey(of: key)
    }

    // MARK: POSIX

    private mutating func describePOSIX(named name: String, as key: NativeKey? = nil)
        -> SegmentDescription?
    {
        var status = stat()
        let path = SharedMemoryFile.path(name)
        guard unsafe lstat(path, &status) == 0 else { return nil }
        let file = FileStatus(status)
        guard file.isRegularFile else { return nil }

        if holders == nil { holders = HolderIndex() }
        var holderCount = holders?.count(of: file.identity) ?? 0
        var isOrphaned = false
        if holderCount == 0 {
            switch SharedMemoryFile.use(named: name) {
            case .unused: isOrphaned = true
            case .used: holderCount = 1
            case .unknown, nil: break
            }
        }
        var seconds: Int64 = 0
        var nanoseconds: Int64 = 0
        let knowsBirth = unsafe csharedmemory_birth_time(path, &seconds, &nanoseconds) == 1
        return SegmentDescription(
            name: .key(key ?? NativeKey("/\(name)", type: .posix)),
            byteCount: file.byteCount,
            owner: .init(user: file.owner, group: file.group, mode: file.permissions & 0o777),
            creatorProcess: nil,
            lastProcess: nil,
            lastAttachedAt: nil,
            lastDetachedAt: nil,
            createdAt: knowsBirth ? WallTime(seconds: seconds, nanoseconds: nanoseconds) : nil,
            identifier: nil,
            holderCount: holderCount,
            isOrphaned: isOrphaned,
            isMarkedForRemoval: false)
    }
}

/// A line of /proc/sysvipc/shm.
///
/// The table shows segments that this process may not even stat; so it, and not the call, is what
/// a list is made of.
private struct SystemVRow {
    let key: key_t
    let identifier: CInt
    let permissions: UInt32
    let byteCount: Int
    let creator: Int
    let lastProcess: Int
    let attachCount: Int
    let user: UInt32
    let group: UInt32
    let attachedAt: Int64
    let detachedAt: Int64
    let changedAt: Int64

    var isMarkedForRemoval: Bool { permissions & 0o1000 != 0 }

    // key shmid perms size cpid lpid nattch uid gid cuid cgid atime dtime ctime rss swap
    init?(_ line: ArraySlice<UInt8>) {
        let fields = line.split(separator: UInt8(ascii: " ")).map {
            String(decoding: $0, as: UTF8.self)
        }
        guard fields.count >= 14, let key = Int64(fields[0]), let identifier = CInt(fields[1]),
            let permissions = UInt32(fields[2], radix: 8), let byteCount = Int(fields[3]),
            let creator = Int(fields[4]), let lastProcess = Int(fields[5]),
            let attachCount = Int(fields[6]),
            let user = UInt32(fields[7]), let group = UInt32(fields[8]),
            let attachedAt = Int64(fields[11]), let detachedAt = Int64(fields[12]),
            let changedAt = Int64(fields[13])
        else { return nil }
        self.key = key_t(truncatingIfNeeded: key)
        self.identifier = identifier
        self.permissions = permissions
        self.byteCount = byteCount
        self.creator = creator
        self.lastProcess = lastProcess
        self.attachCount = attachCount
        self.user = user
        self.group = group
        self.attachedAt = attachedAt
        self.detachedAt = detachedAt
        self.changedAt = changedAt
    }
}
