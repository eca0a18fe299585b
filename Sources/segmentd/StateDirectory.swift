import Glibc

/// The directory that belongs to one running server.
///
/// A lock on a file in it keeps out a second server. The kernel gives the lock back however the
/// process ends. What this server made, or one before it that was killed, is removed with the value,
/// if nothing else was put there.
struct StateDirectory: ~Copyable {
    private let path: String
    private let isNew: Bool
    private let directory: CInt
    private let lock: CInt
    /// Whether the files stay when the server ends, or does not come to start: they tell its successor
    /// something.
    var isStateKept = false

    /// Makes the directory, or takes one that is there, and locks it.
    ///
    /// - Parameter chosen: Its path; nil for the default one.
    /// - Throws: ``StartError`` when it cannot be used. Nothing is left behind.
    init(_ chosen: String?) throws(StartError) {
        path = chosen ?? Configuration.defaultStateDirectory
        // The default one lies where everyone can put things, links for instance.
        let flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC | (chosen == nil ? O_NOFOLLOW : 0)
        var isNew = false
        // A server that is just ending may take away what we have just found.
        for _ in 0..<100 {
            if unsafe mkdir(path, 0o700) == 0 {
                isNew = true
            } else if errno != EEXIST {
                throw Self.unusable(path, errno)
            }
            do throws(StartError) {
                guard let attempt = try Self.open(path, flags) else { continue }
                (directory, lock) = attempt
                self.isNew = Self.note(isNew, in: lock)
                return
            } catch {
                if isNew { _ = unsafe rmdir(path) }
                throw error
            }
        }
        throw Self.inUse(path)
    }

    deinit {
        if !isStateKept {
            _ = unsafe unlinkat(directory, Self.stateName, 0)
            _ = unsafe unlinkat(directory, Self.lockName, 0)
        }
        if isNew, !isStateKept { _ = unsafe rmdir(path) }
        close(lock)
        close(directory)
    }

    private static let lockName = "lock"
    private static let stateName = "state"

    /// The file for what must outlive a kill.
    var statePath: String { "\(path)/\(Self.stateName)" }

    /// Whether the directory was made by this server, or by one before that left a note of it.
    private static func note(_ isNew: Bool, in lock: CInt) -> Bool {
        var note = UInt8(ascii: "1")
        guard isNew else { return unsafe pread(lock, &note, 1, 0) == 1 }
        // Where there is no room for it, the next server leaves an empty directory at worst.
        _ = unsafe pwrite(lock, &note, 1, 0)
        return true
    }

    /// Opens and locks a directory; nil if it went away meanwhile.
    private static func open(
        _ path: String, _ flags: CInt
    ) throws(StartError) -> (directory: CInt, lock: CInt)? {
        let directory = unsafe Glibc.open(path, flags)
        guard directory >= 0 else {
            guard errno != ENOENT else { return nil }
            throw unusable(path, errno)
        }
        var isKept = false
        defer { if !isKept { close(directory) } }
        try checkOwner(of: directory, path)
        guard let lock = try takeLock(in: directory, path) else { return nil }
        isKept = true
        return (directory, lock)
    }

    private static func checkOwner(of directory: CInt, _ path: String) throws(StartError) {
        var status = stat()
        guard unsafe fstat(directory, &status) == 0 else { throw unusable(path, errno) }
        guard status.st_uid == geteuid() else {
            throw .failure("the state directory \(path) belongs to another user")
        }
        guard status.st_mode & 0o022 == 0 else {
            throw .failure("the state directory \(path) can be written by other users")
        }
    }

    private static func takeLock(in directory: CInt, _ path: String) throws(StartError) -> CInt? {
        let flags = O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW
        let lock = unsafe openat(directory, lockName, flags, 0o600)
        guard lock >= 0 else {
            guard errno != ENOENT else { return nil }
            throw unusable(path, errno)
        }
        var isKept = false
        defer { if !isKept { close(lock) } }
        guard flock(lock, LOCK_EX | LOCK_NB) == 0 else {
            throw errno == EWOULDBLOCK ? inUse(path) : unusable(path, errno)
        }
        // Whoever had it may have removed it before letting go.
        var opened = stat()
        var named = stat()
        guard unsafe fstat(lock, &opened) == 0,
            unsafe fstatat(directory, lockName, &named, AT_SYMLINK_NOFOLLOW) == 0,
            opened.st_ino == named.st_ino
        else { return nil }
        isKept = true
        return lock
    }

    private static func unusable(_ path: String, _ number: CInt) -> StartError {
        .failure("cannot use the state directory \(path): \(StartError.reason(number))")
    }

    private static func inUse(_ path: String) -> StartError {
        .failure("another server uses the state directory \(path); --state-dir names another")
    }
}
