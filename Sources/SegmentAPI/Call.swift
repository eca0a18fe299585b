public import MicroHTTP
public import SegmentService
import SharedMemory

/// One request on its way through the routes.
///
/// `@unchecked Sendable`: what varies is set while the request is let in, by the loop thread and
/// before anybody else sees the call.
final class Call: @unchecked Sendable {
    let exchange: Exchange
    let requestID: RequestID
    /// The trace that the request belongs to, if it says so.
    let trace: TraceContext?
    /// The place of its route among all; one more where there is none.
    var place = Route.all.count
    /// What the path says, where it leads somewhere.
    var path: VisitorMemory.Path?
    var session: Session.ID?
    /// Who sends it.
    var caller = Caller.anybody
    /// What it must be to use force.
    var forceRole: Role?

    /// What is remembered of the connection.
    let memory: VisitorMemory

    init(
        exchange: Exchange, memory: VisitorMemory, requestID: RequestID, trace: TraceContext?
    ) {
        self.exchange = exchange
        self.memory = memory
        self.requestID = requestID
        self.trace = trace
    }

    var api: SegmentAPI { memory.api }
    var service: SegmentService { api.service }

    /// The component of the path that the route left open, decoded.
    private var argument: String { path?.argument ?? "" }

    /// The path with its open components in braces, once it is known.
    var route: String? { Route.all.indices.contains(place) ? Route.all[place].template : nil }

    var isHead: Bool { exchange.method == .head }

    // MARK: What the request says

    func requireSession() throws(Problem) -> Session.ID {
        guard let session else { throw .sessionRequired }
        return session
    }

    /// The segment that the path names.
    func segment() throws(Problem) -> SegmentName { try knownSegment().name }

    /// The segment that the path names, as it is known to the service.
    func knownSegment() throws(Problem) -> KnownName {
        let known: KnownName
        if let name = path?.name { known = name } else { known = try readName() }
        if !api.policy.showsEverything(to: caller) {
            try api.policy.require(known.name, shownTo: caller)
        }
        return known
    }

    private func readName() throws(Problem) -> KnownName {
        let text = argument
        let known = try attempt { () throws(ServiceError) in try service.name(fromPath: text) }
        if known.isLasting { path?.name = known }
        return known
    }

    /// Those of the elements whose segment the caller may know of.
    func shown<Element>(_ elements: [Element], _ segment: (Element) -> String) -> [Element] {
        guard !api.policy.showsEverything(to: caller) else { return elements }
        return elements.filter { element in
            guard let name = SegmentName(id: segment(element)) else { return false }
            return api.policy.shows(name, to: caller)
        }
    }

    /// Refuses a caller without the role that a use of force needs.
    func requireForceRole() throws(Problem) {
        if let forceRole { try api.policy.require(forceRole, of: caller) }
    }

    /// The session that the path names; one that cannot be is one that is not.
    func pathSession() throws(Problem) -> Session.ID {
        guard let id = Session.ID(argument) else {
            throw Problem(ServiceError.sessionGone)
        }
        return id
    }

    func query<Result>(
        _ read: (inout QueryReader) throws(QueryError) -> Result
    ) throws(Problem) -> Result {
        do throws(QueryError) {
            var reader = try exchange.withQuery { (query) throws(QueryError) in
                if let query { try QueryReader(query) } else { QueryReader() }
            }
            let result = try read(&reader)
            try reader.finish()
            return result
        } catch { throw Problem(error) }
    }

    func requireNoQuery() throws(Problem) {
        try query { (_) throws(QueryError) in }
    }

    /// A header that may be sent only once.
    func header(_ name: HeaderName) throws(Problem) -> String? {
        try withHeader(name) { $0?.text }
    }

    /// Lends the bytes of a header that may be sent only once, or none if it was not sent.
    func withHeader<Result>(
        _ name: HeaderName, _ body: (Span<UInt8>?) throws(Problem) -> Result
    ) throws(Problem) -> Result {
        try exchange.withHeader(name) { (value, isRepeated) throws(Problem) in
            guard !isRepeated else {
                throw .invalidRequest(
                    "The header \(name) may be sent only once.", parameter: name.description)
            }
            return try body(value)
        }
    }

    /// Which of the types offered the client likes best.
    func negotiate(_ offered: [MediaType]) throws(Problem) -> MediaType {
        // Most say nothing, or that they take anything.
        if takesAnything, let first = offered.first { return first }
        let values = exchange.headers(.accept)
        let accept = Accept(values.isEmpty ? nil : values.joined(separator: ", "))
        guard let best = accept.best(of: offered) else { throw .notAcceptable(offered) }
        return best
    }

    /// Whether the client says that any type is as good as any other.
    var takesAnything: Bool {
        exchange.withHeader(.accept) { accept, isRepeated in
            guard let accept else { return true }
            return !isRepeated && accept.isEqual(to: Self.anything)
        }
    }

    private static let anything = Array("*/*".utf8)

    /// Reads a JSON body, or what stands for an absent one, and goes on.
    func json(
        required: Bool, _ then: @escaping @Sendable (inout ObjectReader) throws(JSONFailure) -> Plan
    ) throws(Problem) -> Plan {
        guard exchange.hasBody || required else { return try decode(Array("{}".utf8), then) }
        if exchange.hasBody {
            guard let field = try header(.contentType), MediaType(field)?.isJSON == true else {
                throw .unsupportedMediaType(
                    "The body must come as Content-Type: application/json, as curl --json sends it."
                )
            }
        }
        let limit = Self.jsonByteLimit
        return .collect(limit: limit, overflow: self.response(.contentTooLarge(limit: limit))) {
            [self] body in
            do throws(Problem) { return try decode(body.bytes, then) } catch {
                return .respond(response(error))
            }
        }
    }

    private func decode(
        _ bytes: [UInt8], _ then: (inout ObjectReader) throws(JSONFailure) -> Plan
    ) throws(Problem) -> Plan {
        do throws(JSONFailure) {
            var reader: ObjectReader
            do throws(JSONError) { reader = try ObjectReader(parsing: bytes) } catch {
                throw .json(error)
            }
            return try then(&reader)
        } catch {
            switch error {
            case .json(let error): throw Problem(error)
            case .problem(let problem): throw problem
            }
        }
    }

    /// The largest body of the requests that carry JSON, in bytes.
    static let jsonByteLimit = 1024 * 1024

    // MARK: Answers

    func response(
        _ status: Int, type: String? = nil, headers: [(String, String)] = [],
        content: Response.Content = .empty
    ) -> Response {
        switch type {
        case nil: response(status, .plain, headers: headers, content: content)
        case "application/json": response(status, .json, headers: headers, content: content)
        case "application/problem+json":
            response(status, .problem, headers: headers, content: content)
        case let type?:
            response(
                status, .plain, headers: [("Content-Type", type)] + headers, content: content)
        }
    }

    func response(
        _ status: Int, _ template: ResponseTemplate, headers: [(String, String)] = [],
        content: Response.Content = .empty
    ) -> Response {
        var values = HeaderValues()
        values.append { requestID.append(to: &$0) }
        return response(status, template, values, headers: headers, content: content)
    }

    /// A part of a segment, as it is.
    func response(part window: DataWindow, content: consuming Response.Content) -> Response {
        var values = HeaderValues()
        values.append { requestID.append(to: &$0) }
        values.append { ContentRange.append(window.bytes, of: window.byteCount, to: &$0) }
        return response(206, .part, values, content: content)
    }

    private func response(
        _ status: Int, _ template: ResponseTemplate, _ values: HeaderValues,
        headers: [(String, String)] = [], content: consuming Response.Content
    ) -> Response {
        var all = headers
        if let trace { all.append(("traceparent", trace.field)) }
        return Response(
            status: status, template: template, values: values, headers: all, content: content)
    }

    func response(_ problem: Problem) -> Response {
        if let refusal = problem.refusal { audit(refusal) }
        var response = response(
            problem.status, type: "application/problem+json", headers: problem.headers,
            content: .bytes(JSONWriter.text(of: problem)))
        response.tag = problem.tag
        return response
    }

    func json(_ status: Int, _ value: some JSONWritable, headers: [(String, String)] = [])
        -> Response
    {
        response(
            status, type: "application/json", headers: headers,
            content: .bytes(JSONWriter.text(of: value)))
    }

    /// Answers when the service is through with the request, which may be at once.
    ///
    /// - Parameters:
    ///   - start: Starts it, and gives what to call if the client hangs up.
    ///   - answer: Turns what comes of it into an answer.
    /// - Returns: The plan for the request.
    func later<Value>(
        _ start: (@escaping @Sendable (Result<Value, ServiceError>) -> Void) -> Wait?,
        answer: @escaping @Sendable (Value) -> Response
    ) -> Plan {
        let wait = start { [self] result in
            switch result {
            case .success(let value): exchange.respond(answer(value))
            case .failure(let error): exchange.respond(response(Problem(error)))
            }
        }
        if let wait { exchange.onHangUp(wait.cancel) }
        return .later
    }
}

extension ResponseTemplate {
    private static func make(
        _ headers: [(String, String)], open: [StaticString] = []
    ) -> ResponseTemplate {
        ResponseTemplate(
            headers: [("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff")]
                + headers, open: ["X-Request-Id"] + open)
    }

    /// An answer without a type.
    static let plain = make([])
    static let json = make([("Content-Type", "application/json")])
    static let problem = make([("Content-Type", "application/problem+json")])
    /// Bytes of a segment as they are, of which one may ask for a part.
    static let octets = make(octetHeaders)
    /// Such a part.
    static let part = make(octetHeaders, open: ["Content-Range"])

    private static let octetHeaders = [
        ("Content-Type", "application/octet-stream"), ("Accept-Ranges", "bytes"),
    ]
}

extension Exchange: WaitingClient {}

/// What can go wrong while a JSON body is read: the JSON, or what it asks for.
enum JSONFailure: Error {
    case json(JSONError)
    case problem(Problem)
}

/// Runs a step of the service and translates its error.
func attempt<Value>(_ body: () throws(ServiceError) -> Value) throws(Problem) -> Value {
    do throws(ServiceError) { return try body() } catch { throw Problem(error) }
}

/// Reads from a JSON body and translates its error.
func reading<Value>(_ body: () throws(JSONError) -> Value) throws(JSONFailure) -> Value {
    do throws(JSONError) { return try body() } catch { throw .json(error) }
}
