/// The body of a request, read whole.
public struct Body: Sendable {
    /// The memory that holds the body, or nil for an empty one; it can be sent back without a copy.
    public let buffer: OwnedBuffer?

    /// How many bytes the client sent.
    public var byteCount: Int { buffer?.byteCount ?? 0 }

    /// A copy of the bytes.
    public var bytes: [UInt8] {
        withBytes { span in unsafe span.withUnsafeBytes { unsafe Array($0) } }
    }

    /// Lends the bytes.
    public func withBytes<Result, Failure: Error>(
        _ body: (RawSpan) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        guard let buffer else { return try body(RawSpan()) }
        return try buffer.withBytes(body)
    }
}
