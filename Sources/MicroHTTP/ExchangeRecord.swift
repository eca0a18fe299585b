/// How an exchange ended, for an access log.
public struct ExchangeRecord: Sendable {
    /// A way for an exchange to end.
    public enum Outcome: Sendable, Hashable {
        /// The whole answer was handed to the kernel.
        case completed
        /// The client closed the connection first.
        case clientGone
        /// The request did not arrive, or the answer did not leave, in time.
        case timedOut
        /// The server was stopped first.
        case shutdown
        /// The answer could not be given whole: its memory or its producer failed, its reader was
        /// too slow for the stream, or none was given.
        case broken
    }

    /// The status of the answer, or nil if none was begun.
    public let status: Int?

    /// The ``Response/tag`` of the answer, or 0 if none was begun.
    public let tag: Int

    /// How many bytes of body were sent; for an answer that broke off, a lower bound.
    public let bytesSent: Int

    /// From the request line to the end, in nanoseconds.
    public let nanoseconds: UInt64

    /// How it ended.
    public let outcome: Outcome
}
