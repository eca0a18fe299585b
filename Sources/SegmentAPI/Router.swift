import MicroHTTP

/// What a path and a method lead to.
struct Route: Sendable {
    /// One of the API's methods, as the language names it without the API.
    typealias Action = @Sendable (SegmentAPI) -> (Call) throws(Problem) -> Plan

    /// The path with its open components in braces, for logs and counters.
    let template: String
    let methods: [(Method, Action)]
    /// Whether the route is one of the versioned interface, where a session may be named.
    let isVersioned: Bool
    /// What stands between the slashes; nil for a component that is left open.
    private let components: [[UInt8]?]

    init(
        _ template: String,
        _ methods: [(Method, Action)]
    ) {
        self.template = template
        self.methods = methods
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
