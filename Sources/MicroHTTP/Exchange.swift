internal import CMicroHTTPD
internal import Glibc
internal import Synchronization

/// One request and its answer.
///
/// What describes the request may be read from any thread, but for the headers, which stay where
/// they arrived: read them in ``Handler/receive(_:)`` or in the closure of ``Plan/collect(limit:overflow:then:)``.
@safe
public final class Exchange: @unchecked Sendable {
    // Sendable: the description of the request is written on the loop thread before the handler
    // first sees the exchange, and never again. `flow` is touched on the loop thread only.
    // Everything else is behind `answering`.

    /// The method, as it was sent.
    public internal(set) var method = Method.get

    /// Whether the request is in HTTP/1.1 rather than HTTP/1.0.
    public internal(set) var isHTTP11 = true

    /// The declared length of the body, if one was.
    public internal(set) var contentLength: Int?

    /// Whether the body comes in chunks, so that its length is not known beforehand.
    public internal(set) var isChunked = false

    /// Whether the client waits for a `100 Continue` before it sends the body.
    public internal(set) var expectsContinue = false

    /// When the request line had arrived, in nanoseconds of the monotonic clock.
    public let startedAt: UInt64

    /// Whether the request has a body of at least one byte.
    public var hasBody: Bool { isChunked || (contentLength ?? 0) > 0 }

    /// Who sent the request: an address and a port, or `unix`.
    public var peer: String { link.peer.description }

    /// Whether the request came over a Unix socket, which has neither a host nor strangers.
    public var isOverUnixSocket: Bool { link.peer.isOverUnixSocket }

    let target: Target
    let link: Link
    var headerList = HeaderList()
    var flow = Flow()
    let answering: Mutex<Answering>

    init(target: Target, link: Link, connection: OpaquePointer, startedAt: UInt64) {
        self.target = target
        self.link = link
        self.startedAt = startedAt
        answering = Mutex(Answering(descriptor: link.descriptor))
        unsafe flow.connection = connection
    }

    // MARK: The request

    /// The path, as it was sent: nothing is decoded.
    public var path: String { target.path }

    /// What follows the question mark, as it was sent, or nil if there is none.
    public var query: String? { target.query }

    /// Whether there is a question mark in the target.
    public var hasQuery: Bool { target.hasQuery }

    /// Lends the bytes of the path, as they were sent.
    public func withPath<Result, Failure: Error>(
        _ body: (Span<UInt8>) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try target.withPath(body)
    }

    /// A word for logs, such as the route that was taken.
    public var label: String {
        get { answering.withLock { $0.label } }
        set { answering.withLock { $0.label = newValue } }
    }

    /// A number that the handler keeps with the exchange, such as which route was taken.
    ///
    /// For the methods of ``Handler`` only, which all run on the loop thread.
    public var tag: Int {
        get { flow.tag }
        set { flow.tag = newValue }
    }

    /// Another number, such as one that is told to the client.
    ///
    /// For the methods of ``Handler`` only, which all run on the loop thread.
    public var number: UInt64 {
        get { flow.number }
        set { flow.number = newValue }
    }

    /// Copies the first value of a header.
    ///
    /// - Parameter name: In any case.
    /// - Returns: The value, or nil if the header was not sent.
    public func header(_ name: StaticString) -> String? {
        requireReadableHeaders()
        guard let value = unsafe headerList.first(name) else { return nil }
        return unsafe String(decoding: value, as: UTF8.self)
    }

    /// Lends the bytes of the first value of a header, or none if the header was not sent.
    ///
    /// - Parameters:
    ///   - name: In any case.
    ///   - body: Looks at the bytes.
    /// - Returns: What `body` returns.
    /// - Throws: What `body` throws.
    public func withHeader<Result, Failure: Error>(
        _ name: StaticString, _ body: (Span<UInt8>?) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        requireReadableHeaders()
        guard let value = unsafe headerList.first(name) else { return try body(nil) }
        return try body(unsafe Span(_bytes: value.bytes))
    }

    /// How often a header was sent.
    public func headerCount(_ name: StaticString) -> Int {
        requireReadableHeaders()
        return headerList.count(name)
    }

    /// Copies every value of a header.
    ///
    /// - Parameter name: In any case.
    /// - Returns: The values, in the order sent.
    public func headers(_ name: StaticString) -> [String] {
        requireReadableHeaders()
        return headerList.all(name)
    }

    private func requireReadableHeaders() {
        guard link.loop.isCurrent, unsafe flow.connection != nil else {
            preconditionFailure("headers may be read only while the handler decides on a request")
        }
    }

    // MARK: The answer

    /// Gives the answer, from any thread.
    ///
    /// Only the first answer counts, and only while the client is there.
    ///
    /// - Returns: Whether the answer was accepted. If not, its ``Response/onDelivered`` has been
    ///   told so.
    @discardableResult
    public func respond(_ response: Response) -> Bool {
        let (accepted, mustWake, dropped) = answering.withLock { state in
            guard case .awaited = state.answer else {
                return (false, false, nil as (@Sendable () -> Void)?)
            }
            state.answer = .given(response)
            defer { state.onHangUp = nil }
            return (true, state.isSuspended, state.onHangUp)
        }
        _ = consume dropped  // what it held is released outside the lock
        if !accepted {
            response.settle(delivered: false)
        } else if mustWake {
            wake()
        }
        return accepted
    }

    /// Has an action called if the client goes away before an answer was given.
    ///
    /// The action is called once, on a loop thread, also when the server is stopped before there is
    /// an answer; at once when the client is gone already.
    public func onHangUp(_ action: @escaping @Sendable () -> Void) {
        let isGone = answering.withLock { state in
            switch state.answer {
            case .awaited:
                state.onHangUp = action
                return false
            case .given, .taken: return false
            case .impossible: return true
            }
        }
        if isGone { action() }
    }

    /// Whether the client is still there.
    ///
    /// Asks the kernel, so the answer is newer than what ``onHangUp(_:)`` has told.
    public var isConnected: Bool {
        // A system call under the lock, for it keeps the descriptor from being closed and reused.
        answering.withLock { state in
            state.descriptor >= 0 && cmicrohttpd_is_hung_up(state.descriptor) == 0
        }
    }
}

extension Exchange {
    /// What several threads share about an exchange.
    struct Answering {
        enum Answer {
            case awaited
            case given(Response)
            case taken
            case impossible
        }

        var answer = Answer.awaited
        var onHangUp: (@Sendable () -> Void)?
        var descriptor: CInt
        var isSuspended = false
        var label = ""
    }

    /// How far the loop has got with an exchange.
    @safe
    struct Flow {
        enum Phase {
            /// The head has not been looked at.
            case fresh
            /// The body goes into `body`.
            case collecting(
                limit: Int, overflow: @Sendable () -> Response, then: @Sendable (Body) -> Plan)
            /// The body is dropped; the answer follows it.
            case draining
            /// The request is here whole and has no answer yet.
            case awaiting
            /// The answer went out before the body was read: drop what comes until the client stops.
            case lingering
            /// libmicrohttpd has the answer.
            case answered
        }

        var connection: OpaquePointer?
        var phase = Phase.fresh
        var body = BodyBuffer()
        var drained = 0
        var isAnnounced = false
        var isSuspended = false
        /// Set when the connection is to be closed without (the rest of) an answer.
        var end: ExchangeRecord.Outcome?
        var status: Int?
        var tag = 0
        var number: UInt64 = 0
        var responseTag = 0
        var bytesSent = 0
        /// Whether `bytesSent` grows as the body is made, rather than being what it will be.
        var isCounting = false
        var stream: EventStream?
        var onDelivered: (@Sendable (Bool) -> Void)?
        var isDelivered = false
        /// The answer of the loop's stock that was given.
        var stocked: StockedResponse?
    }
}
