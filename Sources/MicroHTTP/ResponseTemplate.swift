/// The headers that many answers have in common, named once.
///
/// Answers made from one template cost less: what libmicrohttpd has made of an earlier one of the
/// same size is used again, with only the other headers and the body changed.
public final class ResponseTemplate: Sendable {
    /// Names and values; a value with a line break in it is left out.
    public let headers: [(String, String)]

    /// Names of headers whose values come with each answer, as ``Response/values``.
    public let open: [StaticString]

    /// Names the headers.
    ///
    /// - Parameters:
    ///   - headers: Names and values.
    ///   - open: Names of headers whose values come with each answer, at most
    ///     ``HeaderValues/countLimit``.
    public init(headers: [(String, String)], open: [StaticString] = []) {
        self.headers = headers
        self.open = open
    }
}
