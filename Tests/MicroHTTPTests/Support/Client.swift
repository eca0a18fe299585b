import Glibc

/// A client that sends exactly what it is told to and reads with a deadline.
final class Client {
    private(set) var descriptor: CInt
    private var buffer: [UInt8] = []

    struct Failure: Error { let what: String }

    struct Reply {
        var status = 0
        var headers: [String: String] = [:]
        var body: [UInt8] = []
        var text: String { String(decoding: body, as: UTF8.self) }
    }

    /// Connects to a port of 127.0.0.1.
    init(port: UInt16, receiveBuffer: CInt? = nil) throws {
        descriptor = socket(AF_INET, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        if var size = receiveBuffer {
            unsafe setsockopt(
                descriptor, SOL_SOCKET, SO_RCVBUF, &size, socklen_t(MemoryLayout<CInt>.size))
        }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        let result = unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard result == 0 else { throw Failure(what: "connect: \(errno)") }
    }

    /// Connects to a Unix socket.
    init(path: String) throws {
        descriptor = socket(AF_UNIX, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        unsafe withUnsafeMutableBytes(of: &address.sun_path) {
            unsafe $0.copyBytes(from: path.utf8)
        }
        let result = unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard result == 0 else { throw Failure(what: "connect: \(errno)") }
    }

    deinit { hangUp() }

    func hangUp() {
        guard descriptor >= 0 else { return }
        _ = close(descriptor)
        descriptor = -1
    }

    /// Closes the sending side; what is sent back can still be read.
    func finishSending() { _ = shutdown(descriptor, CInt(SHUT_WR)) }

    func send(_ text: String) throws { try send(Array(text.utf8)) }

    func send(_ bytes: [UInt8]) throws {
        var sent = 0
        while sent < bytes.count {
            try wait(for: CShort(POLLOUT))
            let count = unsafe bytes.withUnsafeBytes { bytes in
                unsafe Glibc.send(
                    descriptor, bytes.baseAddress.map { unsafe $0 + sent }, bytes.count - sent,
                    CInt(MSG_NOSIGNAL | MSG_DONTWAIT))
            }
            guard count > 0 else { throw Failure(what: "send: \(errno)") }
            sent += count
        }
    }

    /// Sends a request of HTTP/1.1.
    func request(
        _ method: String, _ target: String, _ headers: String = "", then body: [UInt8] = []
    ) throws {
        try send("\(method) \(target) HTTP/1.1\r\nHost: test\r\n\(headers)\r\n")
        try send(body)
    }

    /// Sends a GET and reads the answer.
    func get(_ target: String) throws -> Reply {
        try request("GET", target)
        return try reply()
    }

    /// Reads one whole answer.
    func reply(toHead: Bool = false) throws -> Reply {
        var reply = try head()
        if toHead || reply.status == 204 || reply.status == 304 { return reply }
        if reply.headers["transfer-encoding"] == "chunked" {
            while let chunk = try chunk() { reply.body += chunk }
        } else if let length = reply.headers["content-length"].flatMap({ Int($0) }) {
            reply.body = try read(length)
        } else {
            reply.body = try rest()
        }
        return reply
    }

    /// Reads the head of an answer.
    func head() throws -> Reply {
        var reply = Reply()
        let lines = try text(upTo: "\r\n\r\n").split(separator: "\r\n")
        reply.status = Int(lines[0].split(separator: " ")[1]) ?? 0
        for line in lines.dropFirst() {
            let parts = line.split(separator: ":", maxSplits: 1)
            reply.headers[parts[0].lowercased()] = parts.count > 1 ? trimmed(parts[1]) : ""
        }
        return reply
    }

    /// Reads one chunk, or nil for the last.
    func chunk() throws -> [UInt8]? {
        let size = Int(try text(upTo: "\r\n"), radix: 16) ?? -1
        let bytes = try read(size + 2)
        return size == 0 ? nil : Array(bytes.dropLast(2))
    }

    /// Lets a little time pass, for a client that is slow on purpose.
    func pause() { _ = poll(nil, 0, 20) }

    func read(_ count: Int) throws -> [UInt8] {
        while buffer.count < count {
            guard try fill() else {
                throw Failure(what: "closed after \(buffer.count) of \(count)")
            }
        }
        defer { buffer.removeFirst(count) }
        return Array(buffer.prefix(count))
    }

    /// Reads until the server closes the connection.
    func rest() throws -> [UInt8] {
        while try fill() {}
        defer { buffer = [] }
        return buffer
    }

    /// Whether the server closes the connection, having sent nothing more.
    func isClosedByServer() throws -> Bool {
        guard buffer.isEmpty else { return false }
        return try !fill()
    }

    private func text(upTo end: String) throws -> String {
        let end = Array(end.utf8)
        var from = 0
        while true {
            if buffer.count >= end.count {
                for start in from...(buffer.count - end.count)
                where Array(buffer[start..<start + end.count]) == end {
                    defer { buffer.removeFirst(start + end.count) }
                    return String(decoding: buffer[..<start], as: UTF8.self)
                }
                from = buffer.count - end.count
            }
            guard try fill() else {
                throw Failure(what: "closed: \(String(decoding: buffer, as: UTF8.self))")
            }
        }
    }

    private func fill() throws -> Bool {
        try wait(for: CShort(POLLIN))
        var block = [UInt8](repeating: 0, count: 65536)
        let count = unsafe recv(descriptor, &block, block.count, 0)
        if count < 0 && errno != ECONNRESET { throw Failure(what: "recv: \(errno)") }
        buffer += block.prefix(max(count, 0))
        return count > 0
    }

    private func wait(for events: CShort) throws {
        var entry = pollfd(fd: descriptor, events: events, revents: 0)
        guard unsafe poll(&entry, 1, 20_000) > 0 else { throw Failure(what: "nothing in 20 s") }
    }

    private func trimmed(_ text: Substring) -> String {
        String(text.drop { $0 == " " })
    }
}

/// Gets `/` over a connection of its own; nil if that fails.
func fetch(port: UInt16) -> Client.Reply? {
    guard let client = try? Client(port: port) else { return nil }
    return try? client.get("/")
}

/// Gets `/` over a connection of its own to a Unix socket; nil if that fails.
func fetch(path: String) -> Client.Reply? {
    guard let client = try? Client(path: path) else { return nil }
    return try? client.get("/")
}
