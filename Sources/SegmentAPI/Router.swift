import MicroHTTP

/// What a method of a path does, and who may ask for it.
final class Operation: Sendable {
    /// One of the API's methods, as the language names it without the API.
    typealias Action = @Sendable (SegmentAPI) -> (Call) throws(Problem) -> Plan

    let method: Method
    /// What the caller must be; `nil` lets everybody in, with or without a token.
    let role: Role?
    /// What it must be to ask for the same with `force=true`.
    let forceRole: Role?
    let action: Action

    init(_ method: Method, _ role: Role?, force: Role? = nil, _ action: @escaping Action) {
        self.method = method
        self.role = role
        forceRole = force ?? role
        self.action = action
    }
}

/// What a path leads to.
final class Route: Sendable {
    /// The path with its open components in braces, for logs and counters.
    let template: String
    let operations: [Operation]
    /// Whether the route is one of the versioned interface, where a session may be named.
    let isVersioned: Bool
    /// What stands between the slashes; nil for a component that is left open.
    private let components: [[UInt8]?]

    init(
        _ template: String,
        _ operations: [Operation]
    ) {
        self.template = template
        self.operations = operations
        isVersioned = template.hasPrefix("/v1")
        components = template.split(separator: "/").map { $0.hasPrefix("{") ? nil : Array($0.utf8) }
    }

    /// The routes by the number of their components.
    private static let places: [[Int]] = (0...longest).map { count in
        all.indices.filter { all[$0].components.count == count }
    }

    private static let longest = all.map(\.components.count).max() ?? 0

    /// Finds the route that fits a path.
    ///
    /// - Parameter path: As it was sent, beginning with a slash.
    /// - Returns: The place of the route among all, and where the component lies that it leaves
    ///   open, of which no route has two; nil when no route fits.
    static func find(_ path: Span<UInt8>) -> (place: Int, open: Range<Int>)? {
        var ends = InlineArray<8, Int>(repeating: 0)
        var count = 0
        for index in 1...path.count
        where index == path.count || path[index] == UInt8(ascii: "/") {
            guard count < longest, count < 8 else { return nil }
            ends[count] = index
            count += 1
        }
        candidates: for place in places[count] {
            var open = 0..<0
            var start = 1
            for index in 0..<count {
                if let component = all[place].components[index] {
                    guard path.extracting(start..<ends[index]).isEqual(to: component) else {
                        continue candidates
                    }
                } else {
                    open = start..<ends[index]
                }
                start = ends[index] + 1
            }
            return (place, open)
        }
        return nil
    }

    /// The operation of a method; HEAD is GET without a body.
    func operation(_ method: Method) -> Operation? {
        let wanted = method == .head ? .get : method
        for operation in operations where operation.method == wanted { return operation }
        return nil
    }

    /// Whether any of its operations needs a role.
    var isProtected: Bool { operations.contains { $0.role != nil } }

    /// The methods for an Allow header.
    var allowed: [String] {
        operations.flatMap { $0.method == .get ? ["GET", "HEAD"] : [$0.method.rawValue] }
    }

    /// Every path there is, with who may do what there.
    static let all: [Route] = [
        Route(
            "/v1/segments/{segment}/data",
            [
                Operation(.get, .inspect, SegmentAPI.readData),
                Operation(.put, .use, SegmentAPI.replaceData),
                Operation(.patch, .use, SegmentAPI.patchData),
            ]),
        Route(
            "/v1/segments/{segment}/lock",
            [
                Operation(.get, .inspect, SegmentAPI.showLock),
                Operation(.put, .use, SegmentAPI.lock),
                Operation(.delete, .use, force: .admin, SegmentAPI.unlock),
            ]),
        Route(
            "/v1/segments/{segment}/attachment",
            [
                Operation(.get, .inspect, SegmentAPI.showAttachment),
                Operation(.put, .use, SegmentAPI.attach),
                Operation(.delete, .use, SegmentAPI.detach),
            ]),
        Route(
            "/v1/segments/{segment}",
            [
                Operation(.get, .inspect, SegmentAPI.showSegment),
                Operation(.delete, .admin, SegmentAPI.removeSegment),
            ]),
        Route(
            "/v1/segments",
            [
                Operation(.get, .inspect, SegmentAPI.listSegments),
                Operation(.post, .use, SegmentAPI.createSegment),
            ]),
        Route(
            "/v1/sessions",
            [
                Operation(.get, .inspect, SegmentAPI.listSessions),
                Operation(.post, .use, SegmentAPI.openSession),
            ]),
        Route(
            "/v1/sessions/{session}",
            [
                Operation(.get, .use, SegmentAPI.showSession),
                Operation(.delete, .use, SegmentAPI.endSession),
            ]),
        Route("/v1/sessions/{session}/renew", [Operation(.post, .use, SegmentAPI.renewSession)]),
        Route("/v1/sessions/{session}/hold", [Operation(.get, .use, SegmentAPI.holdSession)]),
        Route("/v1/keys", [Operation(.get, .inspect, SegmentAPI.deriveKeys)]),
        Route("/v1", [Operation(.get, .inspect, SegmentAPI.showServer)]),
        Route("/livez", [Operation(.get, nil, SegmentAPI.showLife)]),
        Route("/readyz", [Operation(.get, nil, SegmentAPI.showReadiness)]),
        Route("/healthz", [Operation(.get, nil, SegmentAPI.showLife)]),
        Route("/metrics", [Operation(.get, .inspect, SegmentAPI.showMetrics)]),
        Route("/openapi.yaml", [Operation(.get, nil, SegmentAPI.showDocument)]),
    ]
}
