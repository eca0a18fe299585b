internal import Glibc

extension Listener {
    static func adopt(_ descriptor: CInt, _ endpoint: Endpoint) throws(ServerError) -> Listener {
        guard isListening(descriptor), let address = SocketAddress.local(of: descriptor),
            let socket = FileDescriptor(descriptor)
        else {
            throw ServerError(
                .invalidAddress, "The \(endpoint) is not a listening stream socket.")
        }
        _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
        _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
        return Listener(socket, boundTo: address.endpoint, isInherited: true)
    }

    /// Whether a descriptor is a socket at which streams can be accepted.
    static func isListening(_ descriptor: CInt) -> Bool {
        option(SO_ACCEPTCONN, of: descriptor) == 1
            && option(SO_TYPE, of: descriptor) == CInt(SOCK_STREAM.rawValue)
    }

    private static func option(_ name: CInt, of descriptor: CInt) -> CInt? {
        var value: CInt = 0
        var size = socklen_t(MemoryLayout<CInt>.size)
        guard unsafe getsockopt(descriptor, SOL_SOCKET, name, &value, &size) == 0 else {
            return nil
        }
        return value
    }
}
