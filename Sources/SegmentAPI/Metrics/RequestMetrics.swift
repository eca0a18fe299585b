import MicroHTTP
import SegmentService
import Synchronization

/// What is counted of requests.
///
/// Everything has its place from the start, found by whole numbers, so that a request costs a few
/// additions: no lock, no dictionary, no text.
final class RequestMetrics: Sendable {
    /// What there is for each route, and at the end for paths that none fits.
    let routes = (0...Route.all.count).map { _ in RouteMetrics() }
    /// Refused requests, by the code of the problem.
    let refusals = Problem.codes.map { _ in Counter() }
    /// Requests that got no answer, or not all of it, by why.
    let unanswered = ExchangeRecord.Outcome.failures.map { _ in Counter() }
    /// Bytes of body that were sent.
    let bytesSent = Counter()
    /// Bytes of segments that were read for clients, and written for them.
    let bytesRead = Counter()
    let bytesWritten = Counter()

    /// Counts a request that is over.
    ///
    /// - Parameters:
    ///   - route: The place of its route among all; one more where there was none.
    ///   - method: Its method.
    ///   - record: How it ended.
    func count(_ route: Int, _ method: Method, _ record: ExchangeRecord) {
        let method = RouteMetrics.index(of: method)
        routes[route].count(method, record.status, record.nanoseconds)
        bytesSent.add(record.bytesSent)
        if record.tag > 0 { refusals[record.tag - 1].add() }
        switch record.outcome {
        case .completed: break
        case .clientGone: unanswered[0].add()
        case .timedOut: unanswered[1].add()
        case .shutdown: unanswered[2].add()
        case .broken: unanswered[3].add()
        }
    }
}

/// What is counted of the requests to one route.
final class RouteMetrics: Sendable {
    /// The methods that are told apart; all others are one.
    static let methods = Method.allCases.map(\.rawValue)

    /// The statuses that are told apart; all others, and none at all, are the last one.
    static let statuses = [
        200, 201, 202, 204, 206, 304, 307, 308, 400, 401, 403, 404, 405, 406, 408, 409, 410, 411,
        412, 413, 414, 415, 416, 417, 421, 422, 423, 424, 428, 429, 431, 500, 501, 503, 507,
    ]

    /// Where each of them stands, by the status less one hundred.
    private static let places: [UInt8] = {
        var places = [UInt8](repeating: UInt8(statuses.count), count: 500)
        for (place, status) in statuses.enumerated() { places[status - 100] = UInt8(place) }
        return places
    }()

    /// Room for the statuses of one method.
    private static let stride = 40

    private let answers = InlineArray<320, Atomic<Int>> { _ in Atomic(0) }
    /// How long requests took, by method.
    let durations = methods.map { _ in Histogram() }

    static func index(of method: Method) -> Int {
        switch method {
        case .get: 0
        case .head: 1
        case .put: 2
        case .post: 3
        case .patch: 4
        case .delete: 5
        case .options: 6
        case .other: 7
        }
    }

    func count(_ method: Int, _ status: Int?, _ nanoseconds: UInt64) {
        let number = status ?? 0
        let place = 100..<600 ~= number ? Int(Self.places[number - 100]) : Self.statuses.count
        answers[method * Self.stride + place].add(1, ordering: .relaxed)
        durations[method].record(nanoseconds: nanoseconds)
    }

    /// The methods and statuses that there were, each with how often.
    var counts: [(method: Int, status: String, count: Int)] {
        var found: [(Int, String, Int)] = []
        for method in Self.methods.indices {
            for place in 0...Self.statuses.count {
                let count = answers[method * Self.stride + place].load(ordering: .relaxed)
                guard count > 0 else { continue }
                let status = place < Self.statuses.count ? "\(Self.statuses[place])" : "none"
                found.append((method, status, count))
            }
        }
        return found
    }
}

extension ExchangeRecord.Outcome {
    /// Every outcome but the good one, in the order of ``RequestMetrics/unanswered``.
    static let failures = ["client-gone", "timed-out", "shutdown", "broken"]
}
