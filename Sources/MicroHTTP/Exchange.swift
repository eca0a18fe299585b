internal import CMicroHTTPD
internal import Glibc
internal import Synchronization

/// One request and its answer.
///
/// What describes the request may be read from any thread, but for the headers, which stay where
/// they arrived: read them in ``Handler/receive(_:)`` or in the closure of
/// ``Plan/collect(limit:overflow:then:)``.
@safe
public final class Exchange: @unchecked Sendable {
    // Sendable: `head` is set on the loop thread before the handler first sees the exchange, and
    // never again. Every other variable is touched on the loop thread only; what several threads
    // share is behind `answering`.

    /// The method.
    public var method: Method { head.method }

    /// The method, as it was sent.
    public var methodName: String { method == .other ? head.otherMethod : method.rawValue }

    /// Whether the request is in HTTP/1.1 rather than HTTP/1.0.
    public var isHTTP11: Bool { head.isHTTP11 }

    /// The declared length of the body, if one was.
    public var contentLength: Int? { head.contentLength }

    /// Whether the body comes in chunks, so that its length is not known beforehand.
    public var isChunked: Bool { head.isChunked }

    /// Whether the client waits for a `100 Continue` before it sends the body.
    public var expectsContinue: Bool { head.expectsContinue && head.isHTTP11 }

    /// When the request line had arrived, in nanoseconds of the monotonic clock.
    public let startedAt: UInt64

    /// Whether the request has a body of at least one byte.
    public var hasBody: Bool { isChunked || (contentLength ?? 0) > 0 }

    /// Who sent the request: an address and a port, or `unix`.
    public var peer: String { link.peer.description }

    /// Whether the request came over a Unix socket, which has neither a host nor strangers.
    public var isOverUnixSocket: Bool { link.peer.isOverUnixSocket }

    /// What came in together with the request; nil where that is not known.
    ///
    /// For the methods of ``Handler`` only.
    public var batch: Batch? { link.batch }

    @usableFromInline let target: Target
    let link: Link
    var head = RequestHead()
    let answering: Mutex<Answering>

    // Each by itself and not in a structure, so that the compiler can tell that nothing else is
    // touched when one of them is: otherwise it would have that checked each time.
    var connection: OpaquePointer?
    /// How far the loop has got.
    var phase = Phase.fresh
    /// The answer that was given on the loop thread, until it is queued.
    var ready: Response?
    var keepsake: (any AnyObject & Sendable)?
    var body = BodyBuffer()
    var bodyLimit = 0
    var collection: Collection?
    var drained = 0
    var isAnnounced = false
    var isSuspended = false
    /// Whether it ever was.
    var wasSuspended = false
    /// Whether that is only for a turn of the loop.
    var isYielding = false
    /// Set when the connection is to be closed without (the rest of) an answer.
    var endedBy: ExchangeRecord.Outcome?
    var status: Int?
    var responseTag = 0
    var bytesSent = 0
    /// Whether `bytesSent` grows as the body is made, rather than being what it will be.
    var isCounting = false
    var stream: EventStream?
    var onDelivered: (@Sendable (Bool) -> Void)?
    var isDelivered = false
    /// The answer of the loop's stock that was given.
    var stocked: StockedResponse?

    init(target: Target, link: Link, connection: OpaquePointer, startedAt: UInt64) {
        self.target = target
        self.link = link
        self.startedAt = startedAt
        answering = Mutex(Answering(descriptor: link.descriptor))
        unsafe self.connection = connection
    }

    // MARK: The request

    /// The path, as it was sent: nothing is decoded.
    public var path: String { target.path }

    /// What follows the question mark, as it was sent, or nil if there is none.
    public var query: String? { target.query }

    /// Whether there is a question mark in the target.
    public var hasQuery: Bool { target.hasQuery }

    /// Lends the bytes of the path, as they were sent.
    @inlinable
    public func withPath<Result, Failure: Error>(
        _ body: (Span<UInt8>) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try target.withPath(body)
    }

    /// What the handler keeps with the exchange.
    ///
    /// For the methods of ``Handler`` only, which all run on the loop thread; let go of after
    /// ``Handler/finished(_:_:)``.
    public var companion: (any AnyObject & Sendable)? {
        get { keepsake }
        set { keepsake = newValue }
    }

    /// What the handler keeps with the connection, from one request to the next.
    ///
    /// For the methods of ``Handler`` only, which all run on the loop thread.
    public var visitor: (any AnyObject & Sendable)? {
        get { link.visitor }
        set { link.visitor = newValue }
    }

    /// Lends the bytes behind the question mark, as they were sent, or none if there is none.
    @inlinable
    public func withQuery<Result, Failure: Error>(
        _ body: (Span<UInt8>?) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try target.withQuery(body)
    }

    /// Copies the first value of a header.
    ///
    /// - Parameter name: In any case.
    /// - Returns: The value, or nil if the header was not sent.
    public func header(_ name: HeaderName) -> String? {
        guard let value = unsafe find(name).value else { return nil }
        return unsafe String(decoding: value, as: UTF8.self)
    }

    /// Lends the bytes of the first value of a header, or none if the header was not sent.
    ///
    /// - Parameters:
    ///   - name: In any case.
    ///   - body: Looks at the bytes; it is told whether the header was sent more than once.
    /// - Returns: What `body` returns.
    /// - Throws: What `body` throws.
    @inlinable
    public func withHeader<Result, Failure: Error>(
        _ name: HeaderName, _ body: (Span<UInt8>?, _ isRepeated: Bool) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        let (found, isRepeated) = unsafe find(name)
        guard let value = unsafe found else { return try body(nil, isRepeated) }
        return try body(unsafe Span(_bytes: value.bytes), isRepeated)
    }

    /// Where the first value of a header lies, for as long as the headers may be read, and whether
    /// there are more.
    @usableFromInline
    func find(_ name: HeaderName) -> (value: UnsafeRawBufferPointer?, isRepeated: Bool) {
        requireReadableHeaders()
        return unsafe link.headers.find(name)
    }

    /// How often a header was sent.
    public func headerCount(_ name: HeaderName) -> Int {
        requireReadableHeaders()
        return link.headers.count(name)
    }

    /// Copies every value of a header.
    ///
    /// - Parameter name: In any case.
    /// - Returns: The values, in the order sent.
    public func headers(_ name: HeaderName) -> [String] {
        requireReadableHeaders()
        return link.headers.all(name)
    }

    private func requireReadableHeaders() {
        guard link.loop.isCurrent, unsafe connection != nil else {
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
    public func respond(_ response: consuming Response) -> Bool {
        // Nobody but the loop takes the answer, so one that is given there need not lie behind the
        // lock.
        guard link.loop.isCurrent else { return respondFromElsewhere(response) }
        let claim = answering.withLock { $0.claim() }
        guard claim.isGranted else {
            response.settle(delivered: false)
            return false
        }
        ready = response
        if claim.mustWake { wake() }
        return true
    }

    /// Has a closure fill a buffer, where possible the body of an answer that was given before.
    ///
    /// - Parameters:
    ///   - byteCount: How many bytes are written, no more and no fewer.
    ///   - template: That of the answer whose body it is going to be, where it is.
    ///   - fill: Appends the bytes.
    /// - Returns: The buffer; nil when there is no memory left.
    /// - Throws: What `fill` throws.
    public func buffer<Failure: Error>(
        of byteCount: Int, toBeSentWith template: ResponseTemplate?,
        fill: (inout OutputRawSpan) throws(Failure) -> Void
    ) throws(Failure) -> OwnedBuffer? {
        guard let template, link.loop.isCurrent,
            let home = link.loop.stock.take(template, byteCount)
        else { return try OwnedBuffer(capacity: byteCount, fill: fill) }
        return try OwnedBuffer(in: home, fill: fill)
    }

    private func respondFromElsewhere(_ response: Response) -> Bool {
        let given = GivenResponse(response)
        let claim = answering.withLock { state in
            let claim = state.claim()
            if claim.isGranted { state.given = given }
            return claim
        }
        if !claim.isGranted {
            response.settle(delivered: false)
        } else if claim.mustWake {
            wake()
        }
        return claim.isGranted
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
            case .given: return false
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
            case given
            case impossible
        }

        /// What becomes of an attempt to give the answer.
        struct Claim {
            var isGranted = false
            /// Whether the loop waits for the answer.
            var mustWake = false
            /// No longer needed; to be let go of outside the lock.
            var onHangUp: (@Sendable () -> Void)?
        }

        var answer = Answer.awaited
        /// An answer that came from another thread, until the loop takes it.
        var given: GivenResponse?
        var onHangUp: (@Sendable () -> Void)?
        var descriptor: CInt
        var isSuspended = false

        /// Lets whoever comes first give the answer.
        mutating func claim() -> Claim {
            guard case .awaited = answer else { return Claim() }
            answer = .given
            return Claim(isGranted: true, mustWake: isSuspended, onHangUp: onHangUp.take())
        }

        /// Gives up on an answer.
        ///
        /// - Returns: Whom to tell.
        mutating func loseHope() -> (@Sendable () -> Void)? {
            guard case .awaited = answer else { return nil }
            answer = .impossible
            return onHangUp.take()
        }

        /// Takes leave of the client.
        ///
        /// - Returns: The answer that nobody took, and whom to tell that there will be none.
        mutating func end() -> (given: GivenResponse?, onHangUp: (@Sendable () -> Void)?) {
            descriptor = -1
            isSuspended = false
            return (given.take(), loseHope())
        }
    }

    /// An answer on its way from one thread to another.
    final class GivenResponse: Sendable {
        let response: Response

        init(_ response: Response) { self.response = response }
    }

    /// What to do with a body that is too large, and with one that is here whole.
    struct Collection {
        let overflow: @Sendable () -> Response
        let then: @Sendable (Body) -> Plan
    }

    /// How far the loop has got with an exchange.
    enum Phase {
        /// The head has not been looked at.
        case fresh
        /// The body goes into `body`, as `collection` says.
        case collecting
        /// The body is dropped; the answer follows it.
        case draining
        /// The request is here whole and has no answer yet.
        case awaiting
        /// The answer went out before the body was read: drop what comes until the client stops.
        case lingering
        /// libmicrohttpd has the answer.
        case answered
    }
}
