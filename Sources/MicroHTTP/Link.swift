internal import CMicroHTTPD
internal import Glibc

/// One client's connection.
@safe
final class Link: @unchecked Sendable {
    // Sendable: the constants are; the variables are touched on the loop thread only.
    let loop: Loop
    let daemon: Daemon
    let descriptor: CInt
    let arrival: Arrival
    // Valid until `isClosed`.
    private let connection: OpaquePointer

    /// The headers of the request.
    let headers = HeaderList()
    /// What the handler keeps with it.
    var visitor: (any AnyObject & Sendable)?
    /// Where the loop keeps it.
    var index = 0
    /// When to give up on the client, in nanoseconds of the monotonic clock.
    var deadline: UInt64
    /// Whether that moment came.
    var isOverdue = false
    /// Whether the client sends no more, be it that it left or that it only closed its side.
    var hasSentAll = false
    /// Whether libmicrohttpd has let go of it.
    var isClosed = false
    /// The request that is being received or answered.
    var exchange: Exchange?
    /// The batch of the last request, where libmicrohttpd is known to read from the connection again only
    /// once its epoll told of something that came in since.
    private var quietSince: Batch?

    /// Whether it speaks TLS.
    let isSecure: Bool
    /// What it speaks TLS with, from its handshake to its end.
    private var security: TransportSecurity?

    init(loop: Loop, daemon: Daemon, arrival: Arrival, connection: OpaquePointer) {
        self.loop = loop
        self.daemon = daemon
        self.arrival = arrival
        isSecure = !arrival.peer.isOverUnixSocket && loop.configuration.security != nil
        unsafe self.connection = connection
        unsafe descriptor = cmicrohttpd_descriptor(connection)
        // The first request line is waited for as long as a request, so that one who sends
        // something else is not taken for one who is silent.
        let patience = min(loop.idleNanoseconds, loop.requestNanoseconds)
        deadline =
            monotonicNanoseconds()
            &+ (arrival.refusal == nil ? patience : min(patience, lingerNanoseconds))
    }

    var peer: Peer { arrival.peer }

    /// Has a connection that is new speak TLS with the certificate of the day.
    func secure(_ connection: OpaquePointer) {
        guard isSecure, let security = loop.identity.security else { return }
        self.security = security
        _ = unsafe cmicrohttpd_use_credentials(connection, security.credentials.handle)
        if security.clientAuthority != nil {
            unsafe cmicrohttpd_require_certificate(connection)
        }
    }

    /// Gives a request the time to arrive that it has from now on.
    func beginRequest(now: UInt64) {
        guard arrival.refusal == nil else { return }
        deadline = now &+ loop.requestNanoseconds
    }

    /// Takes note that a request is over.
    ///
    /// libmicrohttpd read less than it had room for then, unless it was reading a body or a head that fills
    /// the room to its last byte, and waits for its epoll to tell of more. It does not wait after the
    /// connection was suspended, nor before the first request; with TLS, something else than a request
    /// may have come in.
    func noteEnd(of exchange: Exchange) {
        let isQuiet = !exchange.hasBody && !exchange.wasSuspended && !isSecure
        quietSince = isQuiet ? loop.batch : nil
    }

    /// What a request belongs to that is the first on the connection in this batch; nil where it might
    /// have begun to arrive only after others were handled.
    var batch: Batch? {
        guard let quietSince, quietSince != loop.batch else { return nil }
        return loop.batch
    }

    /// Whether a request is here whole, or libmicrohttpd answers what is no request.
    var isAnswering: Bool {
        if let exchange, !exchange.isReceiving { return true }
        return unsafe cmicrohttpd_has_answer(connection) != 0
    }

    /// Sends the last bytes of all past libmicrohttpd.
    ///
    /// - Returns: Whether they went out whole.
    func sendLast(_ bytes: UnsafeRawBufferPointer) -> Bool {
        let sent =
            isSecure
            ? unsafe cmicrohttpd_send_last(connection, bytes.baseAddress, bytes.count)
            : unsafe send(
                descriptor, bytes.baseAddress, bytes.count, CInt(MSG_NOSIGNAL | MSG_DONTWAIT))
        guard sent == bytes.count else { return false }
        _ = shutdown(descriptor, CInt(SHUT_WR))
        return true
    }

    /// Whether the client sends no more and everything it sent was read.
    var isReadToEnd: Bool {
        if isSecure, unsafe cmicrohttpd_pending(connection) > 0 { return false }
        var byte: UInt8 = 0
        return unsafe recv(descriptor, &byte, 1, CInt(MSG_PEEK | MSG_DONTWAIT)) == 0
    }
}
