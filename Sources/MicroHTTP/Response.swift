/// An answer to a request.
public struct Response: Sendable {
    /// What an answer carries.
    public enum Content: Sendable {
        /// No body.
        case empty
        /// Bytes, copied when the answer is given.
        case bytes([UInt8])
        /// A buffer, sent without a copy.
        case buffer(OwnedBuffer)
        /// Memory lent by an owner, sent without a copy; see ``memory(_:owner:)``.
        case lent(LentMemory)
        /// Bytes made as the client takes them, in chunks when their number is not known.
        case producer(byteCount: Int?, any BodyProducer)
        /// Bytes pushed as things happen, until the stream is finished.
        case stream(EventStream)

        /// Memory to be sent from where it lies, while `owner` is kept alive.
        ///
        /// Only the kernel touches the bytes: it sends them, or copies them for TLS. Should a page be gone by then, because another
        /// process has truncated the file it came from, the connection is closed and nothing else
        /// happens. The bytes are those of the moment of sending, not of the call.
        ///
        /// - Parameters:
        ///   - bytes: Valid for as long as `owner` lives.
        ///   - owner: Released on a loop thread once the answer is over, exactly once.
        /// - Returns: The content.
        public static func memory(
            _ bytes: UnsafeRawBufferPointer,
            owner: any AnyObject & Sendable
        ) -> Content {
            unsafe .lent(LentMemory(bytes, owner: owner))
        }
    }

    /// The three-digit status.
    public var status: Int { didSet { prepared = nil } }

    /// The headers that it has in common with other answers; they come before ``headers``.
    public var template: ResponseTemplate? { didSet { prepared = nil } }

    /// The values of those that the template leaves open.
    public var values: HeaderValues { didSet { prepared = nil } }

    /// Names and values; a value with a line break in it is left out.
    ///
    /// `Date`, `Content-Length`, `Transfer-Encoding` and `Connection` are added as needed.
    public var headers: [(String, String)] { didSet { prepared = nil } }

    /// The body.
    ///
    /// It is not sent in answer to `HEAD`, nor with status 204 or 304; give a 304 the content of the
    /// 200 it stands for, so that its length is told rightly.
    public var content: Content {
        didSet {
            prepared = nil
            byteCount = content.byteCount
        }
    }

    /// How long the body is, or nil if that will be known at its end.
    ///
    /// Kept, for to ask the content copies it.
    private(set) var byteCount: Int?

    /// A number that the handler finds again in ``ExchangeRecord/tag``, such as why it refused.
    ///
    /// It is not sent.
    public var tag = 0

    /// Told whether the answer left whole, that is, was handed to the kernel to the last byte.
    ///
    /// Called once for each answer given, on whatever thread finds out: also for one that could
    /// not be sent at all. An answer that is watched like this is not sent to a client that has
    /// closed its side of the connection.
    public var onDelivered: (@Sendable (Bool) -> Void)?

    /// The same answer made ready once and for all, unless it was changed since.
    private(set) var prepared: PreparedResponse?

    /// Creates an answer.
    public init(
        status: Int,
        template: ResponseTemplate? = nil,
        values: HeaderValues = HeaderValues(),
        headers: [(String, String)] = [],
        content: Content = .empty,
        onDelivered: (@Sendable (Bool) -> Void)? = nil
    ) {
        precondition(values.count == template?.open.count ?? 0, "a value for each open header")
        self.status = status
        self.template = template
        self.values = values
        self.headers = headers
        byteCount = content.byteCount
        self.content = content
        self.onDelivered = onDelivered
        prepared = nil
    }

    /// Creates an answer that was made ready before.
    public init(_ prepared: PreparedResponse, onDelivered: (@Sendable (Bool) -> Void)? = nil) {
        status = prepared.response.status
        template = nil
        values = HeaderValues()
        headers = prepared.response.headers
        content = prepared.response.content
        byteCount = prepared.response.byteCount
        self.onDelivered = onDelivered
        self.prepared = prepared
    }

    /// Those of the template and its own.
    var allHeaders: [(String, String)] {
        guard let template else { return headers }
        let opened = template.open.enumerated().map { ($1.description, values.text($0)) }
        return template.headers + opened + headers
    }

    /// Tells those who wait for it what became of the answer.
    func settle(delivered: Bool) {
        if case .stream(let stream) = content { stream.close() }
        onDelivered?(delivered)
    }
}

/// Memory that an owner lends until an answer is over.
///
/// Nobody in this process reads it: its address is only handed to the kernel.
@safe
public struct LentMemory: @unchecked Sendable {
    // Sendable: an address that is never followed here, and an owner that is Sendable itself.
    let bytes: UnsafeRawBufferPointer
    let owner: any AnyObject & Sendable

    /// How many bytes are lent.
    public var byteCount: Int { unsafe bytes.count }

    /// Records what is lent and by whom.
    @unsafe
    public init(_ bytes: UnsafeRawBufferPointer, owner: any AnyObject & Sendable) {
        unsafe self.bytes = bytes
        self.owner = owner
    }
}
