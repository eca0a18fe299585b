internal import Glibc

extension Listener {
    static func openTCP(
        host: String, port: UInt16, count: Int, _ endpoint: Endpoint
    ) throws(ServerError) -> [Listener] {
        guard var address = SocketAddress(host: host, port: port) else {
            throw ServerError(.invalidAddress, "\(host) is not an IPv4 or IPv6 address.")
        }
        // The first socket is bound without sharing, so a port that anyone listens on is refused,
        // and nobody can take the port before the others are bound beside it.
        let first = try makeSocket(address, isShared: false, endpoint)
        guard let bound = SocketAddress.local(of: first.rawValue) else {
            throw ServerError(errno, "name", endpoint)
        }
        address.port = bound.port
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
            listeners.append(Listener(socket, boundTo: bound.endpoint))
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
}
