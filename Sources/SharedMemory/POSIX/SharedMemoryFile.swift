import CSharedMemory
import Glibc
import Synchronization

/// A named file of /dev/shm: the object behind a POSIX segment, or behind its semaphore.
///
/// The C library keeps both there (`shm_open` under the name, `sem_open` under `sem.` and the
/// name). They are opened directly here, for three things its functions cannot do: make an object
/// appear under its name whole, learn whether anybody else has it, and take the name away without
/// a race.
struct SharedMemoryFile: ~Copyable, Sendable {
    /// Where the C library keeps shared memory and semaphores.
    static let directory = "/dev/shm"

    /// What the names of files being removed begin with; see ``removeUnlessUsed()``.
    static let removalPrefix = ".shared-memory-removal-"

    let name: String
    let descriptor: FileDescriptor
    let identity: FileIdentity
    private let path: String

    private init(name: String, descriptor: consuming FileDescriptor, identity: FileIdentity) {
        self.name = name
        self.descriptor = descriptor
        self.identity = identity
        path = Self.path(name)
    }

    static func path(_ name: String) -> String { "\(directory)/\(name)" }

    /// Makes a file and gives it its name once `prepare` has filled it, so that nobody ever opens
    /// half of one.
    ///
    /// `willName` is told which file it is just before.
    ///
    /// Nothing is left when that fails.
    static func create(
        named name: String, permissions: UInt32,
        willName: (FileIdentity) -> Void = { _ in },
        prepare: (borrowing FileDescriptor) throws(SystemCallError) -> Void
    ) throws(SystemCallError) -> SharedMemoryFile {
        let descriptor = FileDescriptor(
            owning: try systemCall("open") {
                unsafe csharedmemory_open_unnamed(directory, permissions)
            })
        try prepare(descriptor)
        let identity = try descriptor.status().identity
        willName(identity)
        try systemCall("linkat") {
            unsafe linkat(
                AT_FDCWD, "/proc/self/fd/\(descriptor.rawValue)", AT_FDCWD, path(name),
                AT_SYMLINK_FOLLOW)
        }
        return SharedMemoryFile(name: name, descriptor: descriptor, identity: identity)
    }

    /// Opens the regular file that has the name now.
    ///
    /// Does not follow a symbolic link, does not wait for a FIFO, and does not stay with a file
    /// that loses its name while it is being opened.
    static func open(named name: String, mode: AccessMode) throws(SystemCallError)
        -> SharedMemoryFile
    {
        try patiently { () throws(SystemCallError) in try openAtOnce(named: name, mode: mode) }
    }

    /// Tries what fails with `EWOULDBLOCK` while another process removes the file, until it is through.
    ///
    /// A remover holds its lease for microseconds; its debugger might hold on.
    private static func patiently<Result: ~Copyable>(
        _ body: () throws(SystemCallError) -> Result
    ) throws(SystemCallError) -> Result {
        for _ in 0..<200 {
            do throws(SystemCallError) { return try body() } catch {
                guard error.number == EWOULDBLOCK else { throw error }
            }
            pause(microseconds: 100)
        }
        throw SystemCallError(call: "open", number: EWOULDBLOCK)
    }

    private static func openAtOnce(named name: String, mode: AccessMode) throws(SystemCallError)
        -> SharedMemoryFile
    {
        let flags = (mode == .readOnly ? O_RDONLY : O_RDWR) | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC
        let descriptor = FileDescriptor(
            owning: try systemCall("open") { unsafe Glibc.open(path(name), flags) })
        let status = try descriptor.status()
        guard status.isRegularFile else {
            throw SystemCallError(call: "open", number: EINVAL)
        }
        // Another file may have the name by now, or none.
        guard status.linkCount > 0, identity(named: name) == status.identity else {
            throw SystemCallError(call: "open", number: EWOULDBLOCK)
        }
        return SharedMemoryFile(name: name, descriptor: descriptor, identity: status.identity)
    }

    /// The file that has a name now.
    static func identity(named name: String) -> FileIdentity? {
        FileStatus(atPath: path(name))?.identity
    }

    /// What has the name now; nil when nothing has.
    var statusOfName: FileStatus? { FileStatus(atPath: path) }

    /// Whether the name still leads to this file.
    var hasItsName: Bool { standing == .same }

    /// Where the name leads now, compared with this file.
    var standing: Standing {
        guard let now = statusOfName?.identity else { return .missing }
        return now == identity ? .same : .replaced
    }

    /// Whether anybody else has the file open or mapped, in any process or namespace.
    ///
    /// Mappings made from this very descriptor do not count. Unknown is the answer where another
    /// user owns the file and this process may not ask, or where the kernel has no leases.
    func useByOthers() -> Use { Self.asking.withLock { _ in askWhetherUsed() } }

    private func askWhetherUsed() -> Use {
        guard csharedmemory_lease_write(descriptor.rawValue) == 0 else {
            return errno == EAGAIN ? .used : .unknown
        }
        csharedmemory_lease_release(descriptor.rawValue)
        return .unused
    }

    /// Whether anybody has the file that has a name now, which is opened only to ask that; `nil` when
    /// it cannot be opened.
    static func use(named name: String) -> Use? {
        try? patiently { () throws(SystemCallError) in
            try asking.withLock { (_) throws(SystemCallError) in
                try openAtOnce(named: name, mode: .readOnly).askWhetherUsed()
            }
        }
    }

    /// Keeps those apart who ask, so that none of this process takes for a user who only opened the
    /// file to ask the same.
    private static let asking = Mutex<Void>(())

    /// Runs `body` while nobody else has the file and nobody can open it.
    ///
    /// `body` must not ask who has a file.
    ///
    /// - Returns: `nil` when somebody has it or the kernel does not grant the lease.
    func whileUnused<Result>(_ body: () -> Result) -> Result? {
        Self.asking.withLock { _ in
            guard csharedmemory_lease_write(descriptor.rawValue) == 0 else { return nil }
            defer { csharedmemory_lease_release(descriptor.rawValue) }
            return body()
        }
    }

    /// Takes the name away if nobody else has the file.
    ///
    /// Whoever opens the file while the lease is held waits in `open`, and would come out of it
    /// attached to a file without a name. So the name is moved aside first, then the lease is
    /// looked at: if somebody came, the name is moved back, and the newcomer finds all in order.
    /// To be called with the segment's lock held, so that nobody is between two steps of a
    /// `create` of his own.
    ///
    /// - Returns: Whether the file lost its name, or had lost it before.
    func removeUnlessUsed() -> Bool {
        whileUnused { () -> Bool in
            guard hasItsName else { return true }
            let aside = Self.path(
                Self.removalPrefix + String(UInt64.random(in: 0 ... .max), radix: 16))
            guard unsafe csharedmemory_rename_without_replacing(path, aside) == 0 else {
                return false
            }
            let isOurs = FileStatus(atPath: aside)?.identity == identity
            guard isOurs, csharedmemory_lease_is_whole(descriptor.rawValue) != 0 else {
                if unsafe csharedmemory_rename_without_replacing(aside, path) != 0 {
                    // Somebody made a new file of this name meanwhile: the newcomer has ours
                    // without a name, as after any removal by force.
                    _ = unsafe unlink(aside)
                }
                return false
            }
            _ = unsafe unlink(aside)
            return true
        } ?? false
    }

    /// Takes the name away whoever has the file, if it still leads here.
    func removeByForce() throws(SystemCallError) {
        guard hasItsName else { return }
        try systemCall("unlink") { unsafe unlink(path) }
    }
}
