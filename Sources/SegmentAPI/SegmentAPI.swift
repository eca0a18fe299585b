public import MicroHTTP
public import SegmentService
import SharedMemory
import Synchronization

/// The HTTP/JSON face of a ``SegmentService``.
///
/// It reads requests strictly, asks the service, and writes answers; it decides nothing itself.
public final class SegmentAPI: Handler {
    let service: SegmentService
    let facts: ServerFacts
    let requests = RequestCounters()
    private let log: @Sendable (AccessRecord) -> Void
    private let lastRequest = Atomic<UInt64>(0)
    private let requestPrefix = String(UInt32.random(in: .min ... .max), radix: 16)

    /// Makes the face of a service.
    ///
    /// - Parameters:
    ///   - service: What answers.
    ///   - facts: What the server tells of itself.
    ///   - log: Called once for each request when it is over, on a thread that must not be kept.
    public init(
        service: SegmentService, facts: ServerFacts, log: @escaping @Sendable (AccessRecord) -> Void
    ) {
        self.service = service
        self.facts = facts
        self.log = log
    }

    /// Decides what to do with a request whose head has arrived.
    public func receive(_ exchange: Exchange) -> Plan {
        let id = nextRequestID()
        exchange.label = id
        var call = Call(
            exchange: exchange, service: service, requestID: id, arguments: [], session: nil)
        do throws(Problem) {
            let path = exchange.path.split(separator: "/", omittingEmptySubsequences: false)
            guard let (route, open) = Self.route(path) else { throw .noSuchPath }
            exchange.label = "\(id) \(route.template)"
            guard let action = route.action(exchange.method) else {
                throw .methodNotAllowed(exchange.method.rawValue, allowed: route.allowed)
            }
            let limit = service.configuration.segmentByteLimit
            guard exchange.contentLength ?? 0 <= limit else {
                throw .contentTooLarge(limit: limit)
            }
            call = Call(
                exchange: exchange, service: service, requestID: id,
                arguments: try Self.decode(open),
                session: try session(of: call, isNamedBy: route))
            return try action(self)(call)
        } catch { return .refuse(call.response(error)) }
    }

    private static func route(_ path: [Substring]) -> (Route, [Substring])? {
        for route in Route.all {
            if let open = route.match(path) { return (route, open) }
        }
        return nil
    }

    private static func decode(_ components: [Substring]) throws(Problem) -> [String] {
        var decoded: [String] = []
        for component in components {
            do throws(PercentEncoding.Flaw) {
                decoded.append(try PercentEncoding.decodePathComponent(component.utf8))
            } catch {
                throw .invalidRequest(
                    "The path component \(component) is not percent-encoded UTF-8.")
            }
        }
        return decoded
    }

    /// The session that the request names, renewed.
    private func session(of call: Call, isNamedBy route: Route) throws(Problem) -> Session.ID? {
        guard route.template.hasPrefix("/v1"), let text = try call.header("Session-Id") else {
            return nil
        }
        guard let id = Session.ID(text) else {
            throw Problem(
                ServiceError(.sessionGone, "The session ended, expired or was never there."))
        }
        try attempt { () throws(ServiceError) in try service.renew(id) }
        return id
    }

    private func nextRequestID() -> String {
        let number = lastRequest.add(1, ordering: .relaxed).newValue
        return requestPrefix + "-" + String(number, radix: 16)
    }

    /// Shapes the answer to a request that the transport refuses by itself.
    public func refusal(_ fault: RequestFault, _ exchange: Exchange) -> Response {
        let id = nextRequestID()
        exchange.label = id
        let call = Call(
            exchange: exchange, service: service, requestID: id, arguments: [], session: nil)
        return call.response(Problem(fault))
    }

    /// Learns how an exchange ended.
    public func finished(_ exchange: Exchange, _ record: ExchangeRecord) {
        let label = exchange.label.split(separator: " ", maxSplits: 1)
        let route = label.count > 1 ? String(label[1]) : "-"
        requests.count(status: record.status)
        log(
            AccessRecord(
                method: exchange.method.rawValue, route: route, status: record.status,
                byteCount: record.bytesSent, nanoseconds: record.nanoseconds,
                requestID: label.first.map(String.init) ?? "-", outcome: record.outcome.word))
    }
}

/// What a server tells of itself besides what the service knows.
public struct ServerFacts: Sendable {
    let version: String
    let headerByteLimit: Int
    let connectionLimit: Int

    /// Records the facts.
    ///
    /// - Parameters:
    ///   - version: The program's version.
    ///   - headerByteLimit: How many bytes the head of a request may have.
    ///   - connectionLimit: How many clients may be connected.
    public init(version: String, headerByteLimit: Int, connectionLimit: Int) {
        self.version = version
        self.headerByteLimit = headerByteLimit
        self.connectionLimit = connectionLimit
    }
}

/// One request that is over, for a log: nothing of what it carried.
public struct AccessRecord: Sendable {
    /// The method, as sent.
    public let method: String
    /// The path with its open components in braces; `-` where there is none of that shape.
    public let route: String
    /// The status answered; `nil` when there was no answer.
    public let status: Int?
    /// How many bytes the body of the answer had.
    public let byteCount: Int
    /// How long it took, in nanoseconds.
    public let nanoseconds: UInt64
    /// The id that the answer carried as `X-Request-Id`.
    public let requestID: String
    /// `completed`, `client-gone`, `timed-out` or `shutdown`.
    public let outcome: String
}

extension ExchangeRecord.Outcome {
    fileprivate var word: String {
        switch self {
        case .completed: "completed"
        case .clientGone: "client-gone"
        case .timedOut: "timed-out"
        case .shutdown: "shutdown"
        case .broken: "broken"
        }
    }
}

/// How many requests were answered, by the class of their status.
final class RequestCounters: Sendable {
    private let counts = Mutex([Int](repeating: 0, count: 6))

    func count(status: Int?) {
        counts.withLock { $0[min(5, (status ?? 0) / 100)] += 1 }
    }

    /// The count of answers with a status of so many hundred.
    subscript(hundred: Int) -> Int { counts.withLock { $0[hundred] } }
}
