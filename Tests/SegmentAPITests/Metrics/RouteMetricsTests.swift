import MicroHTTP
import SegmentService
import Testing

@testable import SegmentAPI

@Suite struct RouteMetricsTests {
    @Test func `answers are counted by method and status`() {
        let metrics = RouteMetrics()
        metrics.count(RouteMetrics.index(of: .get), 200, 1)
        metrics.count(RouteMetrics.index(of: .get), 200, 1)
        metrics.count(RouteMetrics.index(of: .put), 507, 1)
        let counts = metrics.counts.map {
            "\(RouteMetrics.methods[$0.method]) \($0.status) \($0.count)"
        }
        #expect(counts == ["GET 200 2", "PUT 507 1"])
        #expect(metrics.durations[0].sum == 2)
    }

    @Test(arguments: [nil, 0, 99, 299, 600, -1])
    func `an odd status or none is counted apart`(status: Int?) {
        let metrics = RouteMetrics()
        metrics.count(0, status, 1)
        #expect(metrics.counts.map(\.status) == ["none"])
    }

    @Test(arguments: Method.allCases)
    func `a method is counted under its name`(method: Method) {
        #expect(RouteMetrics.methods[RouteMetrics.index(of: method)] == method.rawValue)
    }
}

@Suite struct ProcessFiguresTests {
    @Test func `the kernel's figures make sense`() throws {
        let figures = try #require(ProcessFigures.now)
        #expect(figures.threads >= 1)
        #expect(figures.openFiles >= 3)
        #expect(figures.openFiles <= figures.openFileLimit)
        #expect(figures.residentByteCount > 1 << 20)
        #expect(figures.virtualByteCount >= figures.residentByteCount)
        #expect(figures.startTime > 1_600_000_000_000_000_000)
    }
}
