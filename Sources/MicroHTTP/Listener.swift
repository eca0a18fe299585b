internal import CMicroHTTPD
internal import Glibc

/// A listening socket.
final class Listener: Sendable {
    private let socket: FileDescriptor
    /// The file of a Unix socket, which goes when the socket does.
    private let file: (path: String, device: dev_t, inode: ino_t)?
    private let isInherited: Bool
    /// The port, or 0 if it is not TCP.
    let port: UInt16

    var descriptor: CInt { socket.rawValue }

    private init(
        _ socket: FileDescriptor, port: UInt16 = 0,
        file: (path: String, device: dev_t, inode: ino_t)? = nil, isInherited: Bool = false
    ) {
        self.socket = socket
        self.port = port
        self.file = file
        self.isInherited = isInherited
    }

    /// Opens the sockets of one endpoint: one for each loop, or one for all.
    static func open(_ endpoint: Endpoint, count: Int) throws(ServerError) -> [Listener] {
        switch endpoint.kind {
        case .tcp(let host, let port):
            return try openTCP(host: host, port: port, count: count, endpoint)
        case .unix(let path, let mode):
            return [try openUnix(path: path, mode: mode, endpoint)]
        case .inherited(let descriptor):
            return [try adopt(descriptor, endpoint)]
        }
    }

    /// Lets no more clients in, and turns away those in the kernel's queue.
    func shutDown() {
        removeFile()
        if !isInherited { _ = shutdown(descriptor, CInt(SHUT_RD)) }
    }

    private func removeFile() {
        guard let file else { return }
        var status = stat()
        guard unsafe lstat(file.path, &status) == 0,
            status.st_dev == file.device, status.st_ino == file.inode
        else { return }
        _ = unsafe unlink(file.path)
    }

    deinit { removeFile() }

    // MARK: TCP

    private static func openTCP(
        host: String, port: UInt16, count: Int, _ endpoint: Endpoint
    ) throws(ServerError) -> [Listener] {
        guard var address = SocketAddress(host: host, port: port) else {
            throw ServerError(.invalidAddress, "\(host) is not an IPv4 or IPv6 address.")
        }
        // The first socket is bound without sharing, so a port that anyone listens on is refused,
        // and nobody can take the port before the others are bound beside it.
        let first = try makeSocket(address, isShared: false, endpoint)
        address.port = try boundPort(of: first, endpoint)
        var sockets = [first]
        if count > 1 { setOption(first, SOL_SOCKET, SO_REUSEPORT) }
        for _ in 1..<max(count, 1) {
            sockets.append(try makeSocket(address, isShared: true, endpoint))
        }
        var listeners: [Listener] = []
        for socket in sockets {
            guard listen(socket.rawValue, backlog) == 0 else {
                throw ServerError(errno, "listen on", endpoint)
            }
            listeners.append(Listener(socket, port: address.port))
        }
        return listeners
    }

    private static func makeSocket(
        _ address: SocketAddress, isShared: Bool, _ endpoint: Endpoint
    ) throws(ServerError) -> FileDescriptor {
        let type = CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
        guard let socket = FileDescriptor(Glibc.socket(address.family, type, 0)) else {
            throw ServerError(errno, "make a socket for", endpoint)
        }
        setOption(socket, SOL_SOCKET, SO_REUSEADDR)
        if isShared { setOption(socket, SOL_SOCKET, SO_REUSEPORT) }
        if address.family == AF_INET6 { setOption(socket, CInt(IPPROTO_IPV6), IPV6_V6ONLY) }
        guard address.bind(socket.rawValue) else {
            throw ServerError(errno, "bind", endpoint)
        }
        return socket
    }

    private static func setOption(_ socket: FileDescriptor, _ level: CInt, _ option: CInt) {
        var one: CInt = 1
        let size = socklen_t(MemoryLayout<CInt>.size)
        _ = unsafe setsockopt(socket.rawValue, level, option, &one, size)
    }

    private static func boundPort(
        of socket: FileDescriptor, _ endpoint: Endpoint
    ) throws(ServerError) -> UInt16 {
        guard let port = SocketAddress.port(of: socket.rawValue) else {
            throw ServerError(errno, "name", endpoint)
        }
        return port
    }

    // MARK: Unix sockets

    private static func openUnix(
        path: String, mode: mode_t, _ endpoint: Endpoint
    ) throws(ServerError) -> Listener {
        guard let address = SocketAddress(path: path) else {
            throw ServerError(.invalidAddress, "\(path) is too long for a Unix socket.")
        }
        let type = CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
        guard let socket = FileDescriptor(Glibc.socket(AF_UNIX, type, 0)) else {
            throw ServerError(errno, "make a socket for", endpoint)
        }
        // Linux gives the file the socket's own mode, so it is never open to more than `mode`.
        _ = fchmod(socket.rawValue, mode)
        if !address.bind(socket.rawValue) {
            guard errno == EADDRINUSE, removeStaleSocket(path, address) else {
                throw ServerError(errno, "bind", endpoint)
            }
            guard address.bind(socket.rawValue) else {
                throw ServerError(errno, "bind", endpoint)
            }
        }
        _ = unsafe chmod(path, mode)
        var status = stat()
        guard unsafe lstat(path, &status) == 0, listen(socket.rawValue, backlog) == 0 else {
            throw ServerError(errno, "listen on", endpoint)
        }
        return Listener(socket, file: (path, status.st_dev, status.st_ino))
    }

    /// Removes a socket that nobody listens on; leaves `errno` as it was if it cannot.
    private static func removeStaleSocket(_ path: String, _ address: SocketAddress) -> Bool {
        defer { errno = EADDRINUSE }
        var status = stat()
        guard unsafe lstat(path, &status) == 0, status.st_mode & S_IFMT == S_IFSOCK,
            let probe = FileDescriptor(
                Glibc.socket(
                    AF_UNIX, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0))
        else { return false }
        guard !address.connect(probe.rawValue), errno == ECONNREFUSED else { return false }
        return unsafe unlink(path) == 0
    }

    // MARK: Inherited sockets

    private static func adopt(
        _ descriptor: CInt, _ endpoint: Endpoint
    ) throws(ServerError) -> Listener {
        var isListening: CInt = 0
        var size = socklen_t(MemoryLayout<CInt>.size)
        let result = unsafe getsockopt(
            descriptor, SOL_SOCKET, SO_ACCEPTCONN, &isListening, &size)
        guard result == 0, isListening != 0, let socket = FileDescriptor(descriptor) else {
            throw ServerError(.invalidAddress, "The \(endpoint) is not a listening socket.")
        }
        _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
        return Listener(
            socket, port: SocketAddress.port(of: descriptor) ?? 0, isInherited: true)
    }
}

/// How many clients the kernel lets wait.
private let backlog: CInt = 1024

extension ServerError {
    init(_ code: Code, _ description: String) {
        self.code = code
        self.description = description
    }

    /// Says in words what a system call said by number.
    init(_ number: CInt, _ action: String, _ endpoint: Endpoint) {
        let reason = unsafe strerror(number).map { unsafe String(cString: $0) } ?? "\(number)"
        switch number {
        case EADDRINUSE:
            self.init(.addressInUse, "Someone listens on \(endpoint) already.")
        case EADDRNOTAVAIL:
            self.init(.addressUnavailable, "\(endpoint) is not an address of this host.")
        case EACCES, EPERM, EROFS:
            self.init(.permissionDenied, "Not allowed to \(action) \(endpoint): \(reason).")
        case EMFILE, ENFILE, ENOBUFS, ENOMEM, ENOSPC:
            self.init(.outOfResources, "Cannot \(action) \(endpoint): \(reason).")
        case ENOENT, ENOTDIR, ENAMETOOLONG, EAFNOSUPPORT, EINVAL:
            self.init(.invalidAddress, "Cannot \(action) \(endpoint): \(reason).")
        default:
            self.init(.unknown, "Cannot \(action) \(endpoint): \(reason).")
        }
    }
}
