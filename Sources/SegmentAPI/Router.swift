import MicroHTTP

/// What a path and a method lead to.
struct Route: Sendable {
    /// One of the API's methods, as the language names it without the API.
    typealias Action = @Sendable (SegmentAPI) -> (Call) throws(Problem) -> Plan

    /// The path with its open components in braces, for logs and counters.
    let template: String
    let methods: [(Method, Action)]
    private let components: [String]

    init(
        _ template: String,
        _ methods: [(Method, Action)]
    ) {
        self.template = template
        self.methods = methods
        components = template.split(separator: "/", omittingEmptySubsequences: false)
            .map(String.init)
    }

    /// The open components of a path that fits; `nil` when it does not.
    func match(_ path: [Substring]) -> [Substring]? {
        guard path.count == components.count else { return nil }
        var open: [Substring] = []
        for (component, given) in zip(components, path) {
            if component.hasPrefix("{") {
                open.append(given)
            } else if component != given {
                return nil
            }
        }
        return open
    }

    /// The action for a method; HEAD is GET without a body.
    func action(_ method: Method) -> Action? {
        let wanted = method == .head ? .get : method
        return methods.first { $0.0 == wanted }?.1
    }

    /// The methods for an Allow header.
    var allowed: [String] {
        methods.flatMap { $0.0 == .get ? ["GET", "HEAD"] : [$0.0.rawValue] }
    }

    static let all: [Route] = [
        Route(
            "/v1/segments/{segment}/data",
            [
                (.get, SegmentAPI.readData), (.put, SegmentAPI.replaceData),
                (.patch, SegmentAPI.patchData),
            ]),
        Route(
            "/v1/segments/{segment}/lock",
            [(.get, SegmentAPI.showLock), (.put, SegmentAPI.lock), (.delete, SegmentAPI.unlock)]),
        Route(
            "/v1/segments/{segment}/attachment",
            [
                (.get, SegmentAPI.showAttachment), (.put, SegmentAPI.attach),
                (.delete, SegmentAPI.detach),
            ]),
        Route(
            "/v1/segments/{segment}",
            [(.get, SegmentAPI.showSegment), (.delete, SegmentAPI.removeSegment)]),
        Route(
            "/v1/segments", [(.get, SegmentAPI.listSegments), (.post, SegmentAPI.createSegment)]),
        Route("/v1/sessions", [(.get, SegmentAPI.listSessions), (.post, SegmentAPI.openSession)]),
        Route(
            "/v1/sessions/{session}",
            [(.get, SegmentAPI.showSession), (.delete, SegmentAPI.endSession)]),
        Route("/v1/sessions/{session}/renew", [(.post, SegmentAPI.renewSession)]),
        Route("/v1/sessions/{session}/hold", [(.get, SegmentAPI.holdSession)]),
        Route("/v1/keys", [(.get, SegmentAPI.deriveKeys)]),
        Route("/v1", [(.get, SegmentAPI.showServer)]),
        Route("/livez", [(.get, SegmentAPI.showLife)]),
        Route("/readyz", [(.get, SegmentAPI.showReadiness)]),
        Route("/healthz", [(.get, SegmentAPI.showLife)]),
        Route("/metrics", [(.get, SegmentAPI.showMetrics)]),
        Route("/openapi.yaml", [(.get, SegmentAPI.showDocument)]),
    ]
}
