internal import Glibc

extension Listener {
    static func openUnix(
        path: String, mode: mode_t, _ endpoint: Endpoint
    ) throws(ServerError) -> Listener {
        guard let address = SocketAddress(path: path) else {
            throw ServerError(.invalidAddress, "\(path) is too long for a Unix socket.")
        }
        let socket = try makeUnixSocket(endpoint)
        // Linux gives the file the socket's own mode, so it is never open to more than `mode`.
        _ = fchmod(socket.rawValue, mode)
        // Two servers that replace one stale socket would take the new one of each other away.
        let guardian = lockDirectory(of: path)
        defer { _ = consume guardian }
        if !address.bind(socket.rawValue) {
            guard errno == EADDRINUSE else { throw ServerError(errno, "bind", endpoint) }
            try removeStaleSocket(path, address, endpoint)
            guard address.bind(socket.rawValue) else { throw ServerError(errno, "bind", endpoint) }
        }
        // What the process's mask took away.
        _ = unsafe chmod(path, mode)
        var status = stat()
        guard unsafe lstat(path, &status) == 0, listen(socket.rawValue, backlog) == 0 else {
            let number = errno
            _ = unsafe unlink(path)
            throw ServerError(number, "listen on", endpoint)
        }
        return Listener(
            socket, boundTo: endpoint,
            file: File(path: path, device: status.st_dev, inode: status.st_ino))
    }

    private static func makeUnixSocket(_ endpoint: Endpoint) throws(ServerError) -> FileDescriptor {
        let type = CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
        guard let socket = FileDescriptor(Glibc.socket(AF_UNIX, type, 0)) else {
            throw ServerError(errno, "make a socket for", endpoint)
        }
        return socket
    }

    /// Removes a socket that nobody listens on; everything else is left alone.
    private static func removeStaleSocket(
        _ path: String, _ address: SocketAddress, _ endpoint: Endpoint
    ) throws(ServerError) {
        var status = stat()
        guard unsafe lstat(path, &status) == 0 else { return }  // gone by now
        guard status.st_mode & S_IFMT == S_IFSOCK else {
            throw ServerError(.addressInUse, "\(path) is there already and is not a socket.")
        }
        let probe = try makeUnixSocket(endpoint)
        guard !address.connect(probe.rawValue), errno == ECONNREFUSED else {
            throw ServerError(.addressInUse, "Someone listens on \(endpoint) already.")
        }
        guard unsafe unlink(path) == 0 else {
            throw ServerError(errno, "replace the stale", endpoint)
        }
    }

    /// Keeps other servers out of the directory of a path, as long as the result lives.
    ///
    /// Best effort: whoever may not, or has waited for a second, goes on without.
    private static func lockDirectory(of path: String) -> FileDescriptor? {
        let end = path.lastIndex(of: "/")
        let directory = end.map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
        guard
            let descriptor = FileDescriptor(
                unsafe Glibc.open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC))
        else { return nil }
        for _ in 0..<100 {
            if flock(descriptor.rawValue, LOCK_EX | LOCK_NB) == 0 { return descriptor }
            _ = poll(nil, 0, 10)
        }
        return nil
    }
}
