import Glibc

/// The directory that a file lies in, held open so that nobody can put another in its place.
struct ParentDirectory: ~Copyable {
    let descriptor: FileDescriptor
    /// The last component of the path.
    let name: String

    // Glibc hides this one from Swift; the number is Linux's on all machines that Swift runs on.
    static let pathOnly: CInt = 0o10_000_000

    /// Opens the directory without following a symbolic link that another user may have put on the
    /// way to it.
    ///
    /// A link is followed only where it lies in a directory that nobody but root and this user can
    /// write: there it is as good as the directory's name. `/tmp` may be one, and nothing in it.
    ///
    /// - Parameter path: An absolute path.
    /// - Throws: ``SystemCallError``: `ENOTDIR` for such a link.
    init(of path: String) throws(SystemCallError) {
        let components = path.split(separator: "/").filter { $0 != "." }.map(String.init)
        let flags = Self.pathOnly | O_DIRECTORY | O_CLOEXEC
        var number = try systemCall("open") { unsafe open("/", flags) }
        for component in components.dropLast() {
            let directory = FileDescriptor(owning: number)
            let trust = try directory.status().isOursToWrite ? 0 : O_NOFOLLOW
            number = try systemCall("open") {
                unsafe openat(directory.rawValue, component, flags | trust)
            }
        }
        descriptor = FileDescriptor(owning: number)
        name = components.last ?? "."
    }
}

extension FileStatus {
    /// Whether nobody but root and this user can put anything into the directory.
    fileprivate var isOursToWrite: Bool {
        (owner == 0 || owner == geteuid()) && permissions & 0o022 == 0
    }
}
