internal import Glibc

/// A listening socket.
final class Listener: Sendable {
    /// The file of a Unix socket.
    struct File {
        let path: String
        let device: dev_t
        let inode: ino_t
    }

    private let socket: FileDescriptor
    /// Goes when the socket does.
    private let file: File?
    private let isInherited: Bool
    /// Where it really listens: the port is the one that the kernel chose, if it did.
    let address: Endpoint

    var descriptor: CInt { socket.rawValue }

    init(
        _ socket: FileDescriptor, boundTo address: Endpoint, file: File? = nil,
        isInherited: Bool = false
    ) {
        self.socket = socket
        self.address = address
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
    ///
    /// An inherited socket stays as it is, for whoever left it to us may give it to another.
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

    /// How many clients the kernel lets wait.
    static let backlog: CInt = 1024
}
