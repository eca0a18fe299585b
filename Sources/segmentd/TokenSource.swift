import Glibc
import SegmentAPI
import SharedMemory

/// The file that tokens are read from, at the start and whenever the operator says so.
struct TokenSource {
    let path: String
    let environment: KeyEnvironment

    /// Reads the file.
    ///
    /// - Returns: The tokens in it.
    /// - Throws: ``StartError`` that says what is wrong with the file, but shows nothing of it. So is
    ///   a file that others than its owner may read or write; but root may own it and let a group
    ///   of this process read it.
    func read() throws(StartError) -> TokenSet {
        let bytes = try contents()
        do throws(TokenFile.Flaw) {
            return TokenSet(try TokenFile(bytes), environment: environment)
        } catch { throw unusable(error.description) }
    }

    private func contents() throws(StartError) -> [UInt8] {
        // A link is followed: that is how a container's secrets come. A pipe is not waited for.
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)
        guard descriptor >= 0 else { throw unusable(StartError.reason(errno)) }
        defer { close(descriptor) }
        var status = stat()
        guard unsafe fstat(descriptor, &status) == 0 else {
            throw unusable(StartError.reason(errno))
        }
        guard status.st_mode & S_IFMT == S_IFREG else { throw unusable("is no regular file") }
        guard status.st_uid == geteuid() || status.st_uid == 0 else {
            throw unusable("belongs to another user")
        }
        guard status.st_mode & 0o077 == 0 || Self.isSecret(status) else {
            let mode = String(status.st_mode & 0o777, radix: 8)
            throw unusable("is open to others than its owner (mode \(mode)); chmod 600 closes it")
        }
        guard let bytes = try Self.bytes(of: descriptor) else { throw unusable("is too large") }
        return bytes
    }

    /// Whether a file comes as a cluster hands out its secrets: root's, and for this process, which
    /// is not root, to be read by one of its groups.
    private static func isSecret(_ status: stat) -> Bool {
        guard status.st_uid == 0, geteuid() != 0, status.st_mode & 0o037 == 0 else { return false }
        let count = getgroups(0, nil)
        var groups = [gid_t](repeating: getegid(), count: Int(max(count, 0)) + 1)
        _ = unsafe getgroups(count, &groups)
        return groups.contains(status.st_gid)
    }

    /// All that a descriptor has to give; nil if that is more than a token file may have.
    private static func bytes(of descriptor: CInt) throws(StartError) -> [UInt8]? {
        var bytes: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 16 * 1024)
        while bytes.count <= TokenFile.byteLimit {
            let count = unsafe Glibc.read(descriptor, &piece, piece.count)
            if count == 0 { return bytes }
            if count > 0 {
                bytes += piece[..<count]
            } else if errno != EINTR {
                throw .failure("cannot read the token file: \(StartError.reason(errno))")
            }
        }
        return nil
    }

    private func unusable(_ reason: String) -> StartError {
        .failure("cannot use the token file \(path): \(reason)")
    }
}
