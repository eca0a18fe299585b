internal import Glibc

extension Endpoint {
    /// Asks whoever listens here for a path, and waits for the status of the answer.
    ///
    /// For programs that look after a server. Blocks the calling thread; the connection is closed
    /// when it returns.
    ///
    /// - Parameters:
    ///   - path: What to ask for.
    ///   - limit: How long to wait in all.
    /// - Returns: The three-digit status.
    /// - Throws: ``ServerError`` when nobody listens there, or no answer comes in time.
    public func status(of path: String, within limit: Duration) throws(ServerError) -> Int {
        let deadline = monotonicNanoseconds() &+ limit.wholeNanoseconds
        let (host, address) = try destination()
        let type = CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)
        guard let socket = FileDescriptor(Glibc.socket(address.family, type, 0)) else {
            throw ServerError(errno, "make a socket for", self)
        }
        try socket.wait(until: deadline)
        guard address.connect(socket.rawValue) else {
            throw ServerError(.unknown, "Cannot connect to \(self): \(reason(errno)).")
        }
        try socket.wait(until: deadline)
        let request = Array(
            "GET \(path) HTTP/1.1\r\nHost: \(host)\r\nConnection: close\r\n\r\n".utf8)
        guard
            unsafe send(socket.rawValue, request, request.count, CInt(MSG_NOSIGNAL))
                == request.count
        else { throw ServerError(.unknown, "\(self) does not take a request: \(reason(errno)).") }

        // The status line is `HTTP/1.1 200 OK`; nothing after the number is of interest.
        var line: [UInt8] = []
        while line.count < 12 {
            try socket.wait(until: deadline)
            var block = InlineArray<12, UInt8>(repeating: 0)
            let room = 12 - line.count
            let count = unsafe recv(socket.rawValue, &block, room, 0)
            guard count > 0 else {
                let why = count == 0 ? "it hangs up" : reason(errno)
                throw ServerError(.unknown, "\(self) does not answer: \(why).")
            }
            for index in 0..<count { line.append(block[index]) }
        }
        let text = String(decoding: line, as: UTF8.self)
        guard text.hasPrefix("HTTP/1."), let status = Int(text.suffix(3)) else {
            throw ServerError(.unknown, "\(self) answers something else than HTTP.")
        }
        return status
    }

    /// What to say in Host, and the address behind it.
    private func destination() throws(ServerError) -> (host: String, SocketAddress) {
        switch kind {
        case .tcp(let host, let port):
            guard port > 0 else {
                throw ServerError(.invalidAddress, "\(self) has no port to connect to.")
            }
            guard let address = SocketAddress(host: host, port: port) else {
                throw ServerError(.invalidAddress, "\(host) is not an IPv4 or IPv6 address.")
            }
            // Who listens everywhere is asked here.
            let name = ["0.0.0.0", "::"].contains(host) ? "localhost:\(port)" : description
            return (name, address)
        case .unix(let path, _):
            guard let address = SocketAddress(path: path) else {
                throw ServerError(.invalidAddress, "\(path) is too long for a Unix socket.")
            }
            return ("localhost", address)
        case .inherited:
            throw ServerError(.invalidAddress, "\(self) is nothing to connect to.")
        }
    }
}

extension FileDescriptor {
    /// Lets the next call take no longer than until a deadline.
    fileprivate func wait(until deadline: UInt64) throws(ServerError) {
        let now = monotonicNanoseconds()
        guard now < deadline else {
            throw ServerError(.unknown, "No answer came in time.")
        }
        let left = (deadline - now) / 1000 + 1
        var time = timeval(tv_sec: Int(left / 1_000_000), tv_usec: Int(left % 1_000_000))
        let size = socklen_t(MemoryLayout<timeval>.size)
        for option in [SO_SNDTIMEO, SO_RCVTIMEO] {
            _ = unsafe setsockopt(rawValue, SOL_SOCKET, option, &time, size)
        }
    }
}

private func reason(_ number: CInt) -> String {
    switch number {
    case EAGAIN, EINPROGRESS: "it takes too long"
    default: unsafe strerror(number).map { unsafe String(cString: $0) } ?? "error \(number)"
    }
}
