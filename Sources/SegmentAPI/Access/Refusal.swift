import SegmentService
import SharedMemory

/// Why the policy turned a request away.
enum Refusal: String, CaseIterable {
    /// Its `Host` is no name of this server.
    case host
    /// A page of another origin made it.
    case origin
    /// It has no token, or none that is known.
    case token
    /// The role of its token is not enough.
    case role
    /// Nobody may change anything.
    case readOnly = "read-only"
    /// Its token is limited to other segments.
    case segment
    /// The segment is hidden from everybody.
    case hidden
}

extension Problem {
    static let misdirected = Problem(
        421, "misdirected", "Misdirected request",
        "The Host of the request is no name of this server; --host NAME makes it one.", .host)

    static let foreignOrigin = forbidden("A page of another origin made this request.", .origin)

    static let readOnlyServer = forbidden("This server is read-only.", .readOnly)

    /// A request without a token, or with one that is not known.
    static func unauthorized(hasToken: Bool) -> Problem {
        var problem = Problem(
            401, "unauthorized", "Unauthorized",
            hasToken
                ? "The token in Authorization is none of this server's."
                : "This needs a token, sent as Authorization: Bearer TOKEN.", .token)
        problem.challenge(hasToken ? ", error=\"invalid_token\"" : "")
        return problem
    }

    static func roleNeeded(_ role: Role) -> Problem {
        var problem = forbidden("This needs a token with the role \(role.rawValue).", .role)
        problem.challenge(", error=\"insufficient_scope\", scope=\"\(role.rawValue)\"")
        return problem
    }

    static func hidden(_ name: SegmentName) -> Problem {
        var problem = Problem(
            ServiceError(.permissionDenied, "The policy of this server hides \(name)."))
        problem.refusal = .hidden
        return problem
    }

    static func outsideToken(_ name: SegmentName) -> Problem {
        forbidden("The token is limited to other segments than \(name).", .segment)
    }

    private static func forbidden(_ detail: String, _ refusal: Refusal) -> Problem {
        Problem(403, "forbidden", "Forbidden", detail, refusal)
    }

    private init(
        _ status: Int, _ code: String, _ title: String, _ detail: String, _ refusal: Refusal
    ) {
        self.init(status, code, title, detail)
        self.refusal = refusal
    }

    /// Asks for a token as RFC 6750 has it.
    private mutating func challenge(_ reason: String) {
        headers.append(("WWW-Authenticate", "Bearer realm=\"segmentd\"\(reason)"))
    }
}
