/// A source that makes the body of an answer piece by piece, as fast as the client takes it.
public protocol BodyProducer: Sendable {
    /// Appends the next bytes of the body.
    ///
    /// Runs on a loop thread and must not block. It is called again until the body has ended, one
    /// call at a time, and not at all for a `HEAD` request.
    ///
    /// - Parameters:
    ///   - bytes: Where to append. At least one byte must be appended for ``Production/more`` if the
    ///     length of the body was given.
    ///   - offset: How many bytes were produced before.
    /// - Returns: How far it got.
    func produce(into bytes: inout OutputRawSpan, at offset: Int) -> Production
}

/// How far a ``BodyProducer`` got.
public enum Production: Sendable, Hashable {
    /// Bytes were appended, and there may be more; or none yet, and others are to be served before
    /// more are asked for.
    case more
    /// The body ends with what was appended.
    case end
    /// The body cannot be finished: the connection is closed.
    case failed
}
