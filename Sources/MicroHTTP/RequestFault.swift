/// A reason for which the transport refuses a request, whatever it asks for.
///
/// Each is a way of saying two things at once about where a request ends, or something this server
/// does not do. The connection is closed after the refusal.
public enum RequestFault: Hashable, Sendable, CustomStringConvertible {
    /// `Content-Length` together with `Transfer-Encoding`.
    case contradictoryLength
    /// A header that may be there once, sent more than once.
    case duplicateHeader(String)
    /// A `Transfer-Encoding` other than `chunked`.
    case unsupportedTransferEncoding
    /// A header name that ends in white space.
    case malformedHeader
    /// A body on `GET` or `HEAD`.
    case unexpectedBody
    /// A target that does not begin with a slash.
    case unsupportedTarget
    /// An `Expect` other than `100-continue`.
    case unsupportedExpectation

    /// One sentence for whoever sent the request.
    public var description: String {
        switch self {
        case .contradictoryLength:
            "A request may have a Content-Length or a Transfer-Encoding, not both."
        case .duplicateHeader(let name):
            "The header \(name) may be sent only once."
        case .unsupportedTransferEncoding:
            "The only Transfer-Encoding understood here is chunked."
        case .malformedHeader:
            "A header name may not end in white space."
        case .unexpectedBody:
            "A GET or HEAD request may not have a body."
        case .unsupportedTarget:
            "The request target must be a path that begins with a slash."
        case .unsupportedExpectation:
            "The only expectation understood here is 100-continue."
        }
    }

    /// The status that fits the fault best.
    public var status: Int {
        switch self {
        case .unsupportedTransferEncoding: 501
        case .unsupportedExpectation: 417
        default: 400
        }
    }
}
