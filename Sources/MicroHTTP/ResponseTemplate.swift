/// The headers that many answers have in common, named once.
///
/// Answers made from one template cost less: what libmicrohttpd has made of an earlier one of the
/// same size is used again, with only the other headers and the body changed.
public final class ResponseTemplate: Sendable {
    /// Names and values; a value with a line break in it is left out.
    public let headers: [(String, String)]

    /// Names the headers.
    public init(headers: [(String, String)]) {
        self.headers = headers
    }
}
