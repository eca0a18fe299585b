internal import CMicroHTTPD
internal import Glibc

/// A descriptor of the process at the other end of a Unix socket.
public struct PeerProcess: Sendable {
    /// From `pidfd_open` or its like; closed by whoever asked for it.
    public let descriptor: CInt
    /// The number of the process.
    public let number: Int32
    /// When the process must have been running already, in nanoseconds of the boot clock; nil if
    /// the kernel vouches for the descriptor.
    ///
    /// Before Linux 6.5 it goes by the number, which another process may have by now.
    public let latestStart: UInt64?
}

/// A reason for which a client's process cannot be had.
public enum PeerProcessError: Error, Sendable {
    /// The request did not come over a Unix socket.
    case notLocal
    /// The process is not to be seen from here: it lives in another process namespace.
    case invisible
    /// The process has exited already.
    case gone
    /// The kernel gives none, for the reason of this error number.
    case refused(CInt)
}

extension Exchange {
    /// Opens a descriptor of the process that made the connection.
    ///
    /// Call it where headers may be read.
    ///
    /// - Returns: The process.
    /// - Throws: ``PeerProcessError``.
    public func openPeerProcess() throws(PeerProcessError) -> PeerProcess {
        precondition(link.loop.isCurrent, "the connection is that of a loop")
        guard let credentials = link.peer.credentials else { throw .notLocal }
        let number = credentials.process
        guard number > 0 else { throw .invisible }
        let exact = cmicrohttpd_peer_process(link.descriptor)
        if exact >= 0 { return PeerProcess(descriptor: exact, number: number, latestStart: nil) }
        switch errno {
        case ENOPROTOOPT:
            let found = cmicrohttpd_open_process(number)
            if found >= 0 {
                return PeerProcess(
                    descriptor: found, number: number, latestStart: credentials.time)
            }
        default: break
        }
        switch errno {
        case ESRCH, EINVAL, ENODATA: throw .gone
        default: throw .refused(errno)
        }
    }
}
