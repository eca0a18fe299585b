import CSharedMemory
import Glibc

/// The file whose device and inode number make a System V key.
///
/// Segments and semaphores have no names in System V, only numbers. `ftok` makes such a number of
/// a file and a project id: 8 bits of the id, 8 of the device and 16 of the inode. So the file is
/// the name, and two files can collide.
struct KeyFile: Hashable, Sendable {
    let path: String
    let projectID: UInt8
    let identity: FileIdentity

    /// The number that the kernel knows the object by.
    var key: key_t { Self.key(of: identity, projectID: projectID) }

    /// The same arithmetic as `ftok`, which would look the file up a second time.
    static func key(of identity: FileIdentity, projectID: UInt8) -> key_t {
        key_t(
            bitPattern: UInt32(projectID) << 24 | UInt32(identity.device & 0xff) << 16
                | UInt32(identity.inode & 0xffff))
    }

    /// The file that has the path now.
    ///
    /// As `ftok`, follows symbolic links and takes any kind.
    static func find(_ path: String, projectID: UInt8) throws(SystemCallError) -> KeyFile {
        var status = stat()
        try systemCall("stat") { unsafe stat(path, &status) }
        return KeyFile(path: path, projectID: projectID, identity: FileStatus(status).identity)
    }

    /// The file that has the path, made if there is none: empty, readable by owner and group as
    /// Qt makes it.
    static func findOrCreate(_ path: String, projectID: UInt8) throws(SystemCallError)
        -> (file: KeyFile, isNew: Bool)
    {
        let flags = O_RDONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC
        while true {
            do throws(SystemCallError) {
                let parent = try ParentDirectory(of: path)
                let descriptor = FileDescriptor(
                    owning: try systemCall("open") {
                        unsafe openat(parent.descriptor.rawValue, parent.name, flags, 0o640)
                    })
                let identity = try descriptor.status().identity
                return (KeyFile(path: path, projectID: projectID, identity: identity), true)
            } catch {
                guard error.number == EEXIST else { throw error }
            }
            do throws(SystemCallError) {
                return (try find(path, projectID: projectID), false)
            } catch {
                // Removed between the two calls: make it again. A link that leads nowhere stays one.
                guard error.number == ENOENT, !Self.isLink(path) else { throw error }
            }
        }
    }

    private static func isLink(_ path: String) -> Bool {
        var status = stat()
        return unsafe lstat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFLNK
    }

    /// Where the path leads now, compared with this file: another that makes the same key is as
    /// good.
    var standing: Standing {
        guard let now = try? Self.find(path, projectID: projectID) else { return .missing }
        return now.key == key ? .same : .replaced
    }

    /// Makes the file anew after another process removed it, if that gives the same key again: many
    /// file systems use the number of a removed file for the next one.
    ///
    /// Nobody ever sees a file that makes another key.
    ///
    /// - Returns: Whether the path leads to this key again.
    func putBack() -> Bool {
        guard standing == .missing, let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) else {
            return standing == .same
        }
        let directory = String(path[...slash])
        let descriptor = FileDescriptor(
            owning: unsafe csharedmemory_open_unnamed(directory, 0o640))
        guard descriptor.rawValue >= 0, let status = try? descriptor.status(),
            Self.key(of: status.identity, projectID: projectID) == key
        else { return false }
        let source = "/proc/self/fd/\(descriptor.rawValue)"
        return unsafe linkat(AT_FDCWD, source, AT_FDCWD, path, AT_SYMLINK_FOLLOW) == 0
            || standing == .same
    }

    /// Removes the file, if it is still this one and could have been made for this purpose.
    ///
    /// Anybody may use any file as a key, so only a regular file of this user without a byte in it
    /// is ever removed.
    func remove() {
        guard let parent = try? ParentDirectory(of: path) else { return }
        let directory = parent.descriptor.rawValue
        var status = stat()
        guard unsafe fstatat(directory, parent.name, &status, AT_SYMLINK_NOFOLLOW) == 0 else {
            return
        }
        let now = FileStatus(status)
        guard now.isRegularFile, now.byteCount == 0, now.owner == geteuid(),
            now.identity == identity
        else { return }
        _ = unsafe unlinkat(directory, parent.name, 0)
    }
}
