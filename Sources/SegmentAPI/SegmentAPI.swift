public import MicroHTTP
public import SegmentService
import SharedMemory
import Synchronization

/// The HTTP/JSON face of a ``SegmentService``.
///
/// It reads requests strictly, asks the policy who may do what and the service to do it, and writes
/// answers; it decides nothing itself.
public final class SegmentAPI: Handler {
    let service: SegmentService
    let policy: AccessPolicy
    let facts: ServerFacts
    let requests = RequestMetrics()
    let audit: @Sendable (AuditEvent) -> Void
    private let log: @Sendable (AccessRecord) -> Void
    private let lastRequest = Atomic<UInt64>(0)
    private let run = UInt32.random(in: .min ... .max)

    /// Makes the face of a service.
    ///
    /// - Parameters:
    ///   - service: What answers.
    ///   - policy: Who may do what.
    ///   - facts: What the server tells of itself.
    ///   - audit: Called for what a request did, or was not let do, that an operator may have to
    ///     account for; on a thread that must not be kept.
    ///   - log: Called once for each request when it is over, on a thread that must not be kept.
    public init(
        service: SegmentService, policy: AccessPolicy, facts: ServerFacts,
        audit: @escaping @Sendable (AuditEvent) -> Void = { _ in },
        log: @escaping @Sendable (AccessRecord) -> Void
    ) {
        self.service = service
        self.policy = policy
        self.facts = facts
        self.audit = audit
        self.log = log
    }

    /// Decides what to do with a request whose head has arrived.
    public func receive(_ exchange: Exchange) -> Plan {
        let call = begin(exchange)
        do throws(Problem) { return try admit(exchange, call, call.memory) } catch {
            return .refuse(call.response(error))
        }
    }

    /// Lets a request in, step by step, and has its operation say what to do.
    private func admit(_ exchange: Exchange, _ call: Call, _ memory: VisitorMemory) throws(Problem)
        -> Plan
    {
        try policy.requireOwnOrigin(exchange, memory)
        let known = exchange.withPath { memory.path($0) }
        let found = known == nil ? exchange.withPath(Route.find) : nil
        guard let place = known?.place ?? found?.place else {
            _ = try policy.caller(of: exchange)
            throw .noSuchPath
        }
        let route = Route.all[place]
        call.place = place
        guard let operation = route.operation(exchange.method) else {
            if route.isProtected { _ = try policy.caller(of: exchange) }
            throw .methodNotAllowed(exchange.methodName, allowed: route.allowed)
        }
        if let role = operation.role {
            call.caller = try policy.caller(of: exchange)
            try policy.require(role, of: call.caller)
        }
        guard exchange.contentLength ?? 0 <= facts.bodyByteLimit else {
            throw .contentTooLarge(limit: facts.bodyByteLimit)
        }
        if let known {
            call.path = known
        } else if let found {
            try exchange.withPath { (path) throws(Problem) in
                let argument = try Self.decode(path.extracting(found.open))
                let read = VisitorMemory.Path(place: place, argument: argument)
                memory.remember(read, at: path)
                call.path = read
            }
        }
        call.forceRole = operation.forceRole
        if route.isVersioned { call.session = try session(of: call, memory) }
        return try operation.action(self)(call)
    }

    /// Gives a request its number, unless it has one, and takes the trace that it belongs to.
    private func begin(_ exchange: Exchange) -> Call {
        if let call = exchange.companion as? Call { return call }
        let number = lastRequest.add(1, ordering: .relaxed).newValue
        let call = Call(
            exchange: exchange, memory: memory(of: exchange),
            requestID: RequestID(run: run, number: number), trace: trace(of: exchange))
        exchange.companion = call
        return call
    }

    /// What is remembered of the connection that a request came by.
    private func memory(of exchange: Exchange) -> VisitorMemory {
        if let memory = exchange.visitor as? VisitorMemory { return memory }
        let memory = VisitorMemory(of: self)
        exchange.visitor = memory
        return memory
    }

    private func trace(of exchange: Exchange) -> TraceContext? {
        // Said twice, it says nothing.
        guard exchange.headerCount(.traceParent) == 1 else { return nil }
        return exchange.header(.traceParent).flatMap { TraceContext($0) }
    }

    private static func decode(_ component: Span<UInt8>) throws(Problem) -> String {
        var hasEscapes = false
        for index in component.indices where component[index] == UInt8(ascii: "%") {
            hasEscapes = true
        }
        if !hasEscapes, let text = component.validText { return text }
        do throws(PercentEncoding.Flaw) {
            return try PercentEncoding.decodePathComponent([UInt8](copying: component))
        } catch {
            throw .invalidRequest(
                "The path component \(component.text) is not percent-encoded UTF-8.")
        }
    }

    /// The session that the request names, renewed.
    private func session(of call: Call, _ memory: VisitorMemory) throws(Problem) -> Session.ID? {
        let named = try call.withHeader(.sessionID) { (digits) throws(Problem) -> Session.ID? in
            guard let digits else { return nil }
            guard let id = memory.sessionID(digits) else {
                throw Problem(ServiceError.sessionGone)
            }
            return id
        }
        guard let id = named else { return nil }
        try attempt { () throws(ServiceError) in try service.renew(id) }
        return id
    }

    /// Shapes the answer to a request that the transport refuses by itself.
    public func refusal(_ fault: RequestFault, _ exchange: Exchange) -> Response {
        begin(exchange).response(Problem(fault))
    }

    /// Learns how an exchange ended.
    public func finished(_ exchange: Exchange, _ record: ExchangeRecord) {
        guard let call = exchange.companion as? Call else { return }
        requests.count(call.place, exchange.method, record)
        log(
            AccessRecord(
                method: exchange.methodName,
                route: call.route ?? "-",
                status: record.status, byteCount: record.bytesSent,
                nanoseconds: record.nanoseconds, requestID: call.requestID,
                trace: call.trace.map { (id: String($0.traceID), span: $0.spanID) },
                outcome: record.outcome.word))
    }
}

/// What a server tells of itself besides what the service knows.
public struct ServerFacts: Sendable {
    let version: String
    let transport: Server.Configuration
    /// How many bytes the body of a request may have.
    let bodyByteLimit: Int

    /// Records the facts.
    ///
    /// - Parameters:
    ///   - version: The program's version.
    ///   - transport: What the server that carries the API was told.
    ///   - bodyByteLimit: How many bytes the body of a request may have.
    public init(version: String, transport: Server.Configuration, bodyByteLimit: Int) {
        self.version = version
        self.transport = transport
        self.bodyByteLimit = bodyByteLimit
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
    public let requestID: RequestID
    /// The trace it belongs to, if it said so, and the number of this server's part in that.
    public let trace: (id: String, span: String)?
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
