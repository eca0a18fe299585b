import MicroHTTP
import SegmentService

/// An answer that says what is wrong, in the shape of RFC 9457.
struct Problem: Error {
    var status: Int
    var code: String
    var title: String
    var detail: String
    var qtError: String?
    /// The JSON pointer of the member at fault.
    var pointer: String?
    /// The query parameter or header at fault.
    var parameter: String?
    var headers: [(String, String)] = []
    /// The policy that kept the client out, where one did: this is put on record.
    var refusal: Refusal?

    init(_ status: Int, _ code: String, _ title: String, _ detail: String) {
        self.status = status
        self.code = code
        self.title = title
        self.detail = detail
    }

    /// Every code there is, in the order in which refusals are counted.
    static let codes =
        ServiceError.Code.allCases.map(\.rawValue) + [
            "invalid-request", "method-not-allowed", "not-acceptable", "content-too-large",
            "unsupported-media-type", "unauthorized", "forbidden", "misdirected",
            "too-many-connections", "too-many-bodies",
        ] + ["other"]

    /// The place of the code among all, from one on.
    var tag: Int { (Self.codes.firstIndex(of: code) ?? Self.codes.count - 1) + 1 }

    /// What is wrong with a request as such.
    static func invalidRequest(_ detail: String, parameter: String? = nil) -> Problem {
        var problem = Problem(400, "invalid-request", "Invalid request", detail)
        problem.parameter = parameter
        return problem
    }

    static let noSuchPath = Problem(
        404, "not-found", "No such path",
        "There is nothing at this path; /openapi.yaml lists what there is. "
            + "A slash in a segment's name is written %2F.")

    static func methodNotAllowed(_ method: String, allowed: [String]) -> Problem {
        var problem = Problem(
            405, "method-not-allowed", "Method not allowed",
            "This path answers \(allowed.joined(separator: ", ")).")
        problem.headers = [("Allow", allowed.joined(separator: ", "))]
        return problem
    }

    static func notAcceptable(_ offered: [MediaType]) -> Problem {
        let names = offered.map { "\($0.type)/\($0.subtype)" }.joined(separator: ", ")
        return Problem(
            406, "not-acceptable", "Not acceptable", "This is to be had as \(names).")
    }

    static func contentTooLarge(limit: Int) -> Problem {
        Problem(
            413, "content-too-large", "Content too large",
            "The body may have \(limit) bytes at most.")
    }

    static func unsupportedMediaType(_ detail: String) -> Problem {
        Problem(415, "unsupported-media-type", "Unsupported media type", detail)
    }

    static func outOfRange(_ detail: String, byteCount: Int) -> Problem {
        var problem = Problem(416, "out-of-range", "Out of range", detail)
        problem.headers = [("Content-Range", ContentRange.unsatisfiedField(of: byteCount))]
        return problem
    }

    static func sizeMismatch(_ detail: String) -> Problem {
        Problem(422, "size-mismatch", "Size mismatch", detail)
    }

    static let sessionRequired = Problem(
        ServiceError(
            .sessionRequired,
            "This needs a session: open one with POST /v1/sessions and send its id as Session-Id."))

    // MARK: Translations

    init(_ error: ServiceError) {
        let (status, title) = Self.meaning(of: error.code)
        self.init(status, error.code.rawValue, title, error.detail.asSentence)
        qtError = error.qtError
        if status == 423 { headers = [("Retry-After", "1")] }
    }

    init(_ error: JSONError) {
        self = .invalidRequest(error.reason)
        pointer = error.pointer
    }

    init(_ error: QueryError) {
        self = .invalidRequest(error.reason, parameter: error.parameter)
    }

    init(_ fault: RequestFault) {
        switch fault.status {
        case 417:
            self = .invalidRequest(fault.description, parameter: "Expect")
            status = 417
        case 501:
            self = .invalidRequest(fault.description, parameter: "Transfer-Encoding")
        case 503 where fault.isAboutBodies:
            self.init(503, "too-many-bodies", "Too many bodies", fault.description)
            headers = [("Retry-After", "1")]
        case 429, 503:
            self.init(
                fault.status, "too-many-connections", "Too many connections", fault.description)
            headers = [("Retry-After", "1")]
        default:
            self = .invalidRequest(fault.description)
        }
    }

    private static func meaning(of code: ServiceError.Code) -> (status: Int, title: String) {
        switch code {
        case .keyError: (400, "Unusable key")
        case .invalidSize: (422, "Invalid size")
        case .alreadyExists: (409, "Segment exists already")
        case .notFound: (404, "No such segment")
        case .permissionDenied: (403, "Permission denied")
        case .outOfResources: (507, "Out of resources")
        case .unknownError: (500, "Unknown error")
        case .alreadyAttached: (409, "Attached already")
        case .inUse: (409, "Segment in use")
        case .keyCollision: (409, "Key collision")
        case .notAttached: (409, "Not attached")
        case .notLocked: (409, "Not locked")
        case .lockUnsupported: (409, "Segment without a lock")
        case .locked: (423, "Locked")
        case .readOnlyAttachment: (403, "Attached read-only")
        case .staleFencingToken: (412, "Stale fencing token")
        case .segmentTruncated: (409, "Segment truncated")
        case .outOfRange: (416, "Out of range")
        case .sizeMismatch: (422, "Size mismatch")
        case .sessionRequired: (400, "Session required")
        case .sessionGone: (410, "Session gone")
        case .tooManySessions: (429, "Too many sessions")
        case .shuttingDown: (503, "Shutting down")
        }
    }
}

extension String {
    /// A clause with a capital in front and a full stop behind, where it has none.
    fileprivate var asSentence: String {
        let end = hasSuffix(".") ? "" : "."
        return prefix(1).uppercased() + dropFirst() + end
    }
}

extension Problem: JSONWritable {
    func write(to writer: inout JSONWriter) {
        writer.object { writer in
            writer.member("type", "/problems/\(code)")
            writer.member("title", title)
            writer.member("status", status)
            writer.member("detail", detail)
            writer.member("code", code)
            writer.member("qt_error", ifPresent: qtError)
            writer.member("pointer", ifPresent: pointer)
            writer.member("parameter", ifPresent: parameter)
        }
    }
}
