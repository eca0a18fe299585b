/// The application behind a server: it is asked what to do with each request.
///
/// Every method runs on a loop thread, which serves many connections: none may block.
public protocol Handler: AnyObject, Sendable {
    /// Decides what to do with a request whose head has arrived.
    ///
    /// Nothing of the body has been read yet, so a request can be refused before its body is sent.
    func receive(_ exchange: Exchange) -> Plan

    /// Shapes the answer to a request that the transport refuses by itself.
    ///
    /// ``receive(_:)`` is not called for such a request, and its connection is closed; but for
    /// ``RequestFault/tooManyBodies(limit:)``, which comes after it.
    func refusal(_ fault: RequestFault, _ exchange: Exchange) -> Response

    /// Learns how an exchange ended.
    ///
    /// Called once for each exchange that ``receive(_:)`` or ``refusal(_:_:)`` was called for,
    /// after the answer has been handed to the kernel or the connection is gone.
    func finished(_ exchange: Exchange, _ record: ExchangeRecord)
}

extension Handler {
    /// Answers with the sentence of the fault as plain text.
    public func refusal(_ fault: RequestFault, _ exchange: Exchange) -> Response {
        Response(
            status: fault.status,
            headers: [("Content-Type", "text/plain; charset=utf-8")],
            content: .bytes(Array("\(fault)\n".utf8))
        )
    }

    /// Does nothing.
    public func finished(_ exchange: Exchange, _ record: ExchangeRecord) {}
}

/// What an application wants done with a request.
public enum Plan: Sendable {
    /// Give this answer.
    ///
    /// The connection stays open for the next request. A body that came along uninvited is
    /// treated as by ``refuse(_:)``.
    case respond(Response)

    /// Give this answer to a request whose body is not wanted.
    ///
    /// A body that is small is read and dropped, and the connection kept. The answer goes out at
    /// once, and the connection is closed after it, when the client waits for a `100 Continue` or
    /// the body is larger than ``Server/Configuration/drainLimit``.
    case refuse(Response)

    /// Read the whole body into memory, then go on by another plan.
    ///
    /// A body of more than `limit` bytes is refused with `overflow`, which is made only then, by the
    /// rule of ``refuse(_:)``: where the length was declared, before anything is read.
    case collect(
        limit: Int, overflow: @autoclosure @Sendable () -> Response, then: @Sendable (Body) -> Plan)

    /// The answer will come through ``Exchange/respond(_:)``, or came already.
    ///
    /// Meanwhile the connection costs no thread. A body that nobody collected is dropped.
    case later
}
