import Glibc

extension KeyEnvironment {
    /// Reads the environment of this process, by the rules of Linux.
    ///
    /// - Returns: What the process would derive keys from now. Its environment variables must not
    ///   change at the same time.
    public static func current() -> KeyEnvironment {
        KeyEnvironment(
            temporaryDirectory: variable("TMPDIR"),
            runtimeDirectory: variable("XDG_RUNTIME_DIR"),
            workingDirectory: currentDirectory() ?? "/",
            userID: geteuid(),
            userName: loginName(of: geteuid())
        )
    }

    private static func variable(_ name: String) -> String? {
        guard let text = unsafe getenv(name) else { return nil }
        return unsafe String(cString: text)
    }

    private static func currentDirectory() -> String? {
        guard let path = unsafe getcwd(nil, 0) else { return nil }
        defer { unsafe free(path) }
        return unsafe String(cString: path)
    }

    private static func loginName(of userID: uid_t) -> String? {
        var entry = unsafe passwd()
        var found: UnsafeMutablePointer<passwd>?
        // Entries of directory services can be long; the kernel knows no limit to a name.
        var buffer = [CChar](repeating: 0, count: 65536)
        guard unsafe getpwuid_r(userID, &entry, &buffer, buffer.count, &found) == 0,
            unsafe found != nil,
            let name = unsafe entry.pw_name
        else { return nil }
        return unsafe String(cString: name)
    }

    /// Whether a path is, or could become, a directory of this user's that nobody else may enter.
    func isPrivateDirectory(_ path: String, creatingMissing: Bool) -> Bool {
        if let status = PathStatus(path, followingLinks: false) {
            return status.isPrivateDirectory(of: userID)
        }
        guard creatingMissing else { return canMakeDirectory(path) }
        // Whoever made it, we or another process just now, its state decides.
        _ = unsafe mkdir(path, 0o700)
        return PathStatus(path, followingLinks: false)?.isPrivateDirectory(of: userID) ?? false
    }

    private func canMakeDirectory(_ path: String) -> Bool {
        let isSlash = { (byte: UInt8) in byte == UInt8(ascii: "/") }
        let trimmed = Array(path.utf8.reversed().drop(while: isSlash))
        let name = trimmed.prefix { !isSlash($0) }
        let parent = String(decoding: trimmed.dropFirst(name.count).reversed(), as: UTF8.self)
        guard !name.isEmpty, name.count <= NAME_MAX,
            let status = PathStatus(parent, followingLinks: true), status.isDirectory
        else { return false }
        // Only for ourselves can the kernel be asked, which knows of groups and access lists.
        return userID == geteuid()
            ? unsafe faccessat(AT_FDCWD, parent, W_OK | X_OK, AT_EACCESS) == 0
            : status.grantsEntries(to: userID)
    }
}

/// What the kernel says of a path.
private struct PathStatus {
    private let mode: mode_t
    private let owner: uid_t

    init?(_ path: String, followingLinks: Bool) {
        var status = stat()
        let flags = followingLinks ? 0 : AT_SYMLINK_NOFOLLOW
        guard unsafe fstatat(AT_FDCWD, path, &status, flags) == 0 else { return nil }
        mode = status.st_mode
        owner = status.st_uid
    }

    var isDirectory: Bool { mode & S_IFMT == S_IFDIR }

    func isPrivateDirectory(of userID: uid_t) -> Bool {
        isDirectory && owner == userID && mode & 0o777 == 0o700
    }

    // Groups are left out: a foreign user's are not known.
    func grantsEntries(to userID: uid_t) -> Bool {
        userID == 0 || (owner == userID ? mode & 0o300 == 0o300 : mode & 0o003 == 0o003)
    }
}
