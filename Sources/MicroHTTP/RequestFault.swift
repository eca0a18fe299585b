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
    /// A target with a space in it.
    case malformedTarget
    /// No `Host` in a request of HTTP/1.1 that did not come over a Unix socket.
    case missingHost
    /// An `Expect` other than `100-continue`.
    case unsupportedExpectation
    /// More clients are connected than the server has room for.
    case tooManyConnections(limit: Int)
    /// More connections of this client than it may have.
    case tooManyConnectionsOfClient(limit: Int)
    /// A body for which there is no room beside those that are there already.
    case tooManyBodies(limit: Int)

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
        case .malformedTarget:
            "The request target may not contain a space."
        case .missingHost:
            "A request of HTTP/1.1 must name a Host."
        case .unsupportedExpectation:
            "The only expectation understood here is 100-continue."
        case .tooManyConnections(let limit):
            "There are \(limit) connections already, which is all that is allowed."
        case .tooManyConnectionsOfClient(let limit):
            "There are \(limit) connections from this client already, which is all it may have."
        case .tooManyBodies(let limit):
            "The bodies of all requests together may have \(limit) bytes, and there is no room just now."
        }
    }

    /// Whether it is bodies, and not connections, that are too many.
    public var isAboutBodies: Bool {
        if case .tooManyBodies = self { true } else { false }
    }

    /// The status that fits the fault best.
    public var status: Int {
        switch self {
        case .unsupportedTransferEncoding: 501
        case .unsupportedExpectation: 417
        case .tooManyConnections, .tooManyBodies: 503
        case .tooManyConnectionsOfClient: 429
        default: 400
        }
    }
}
