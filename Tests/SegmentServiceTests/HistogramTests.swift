import SegmentService
import Testing

@Suite struct HistogramTests {
    @Test func `a duration counts in the first bucket that it fits`() {
        let histogram = Histogram()
        for (place, bound) in Histogram.bounds.enumerated() {
            histogram.record(nanoseconds: bound)
            #expect(histogram.counts[place] == 1)
        }
        histogram.record(nanoseconds: Histogram.bounds.last.map { $0 + 1 } ?? 0)
        #expect(histogram.counts == Array(repeating: 1, count: Histogram.bounds.count + 1))
    }

    @Test func `the sum is that of all durations`() {
        let histogram = Histogram()
        histogram.record(nanoseconds: 7)
        histogram.record(nanoseconds: 1_000_000_000_000)
        #expect(histogram.sum == 1_000_000_000_007)
    }

    @Test func `bounds ascend`() {
        #expect(zip(Histogram.bounds, Histogram.bounds.dropFirst()).allSatisfy(<))
    }

    @Test func `no thread loses what another counts`() async {
        let histogram = Histogram()
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<8 {
                group.addTask { for _ in 0..<10_000 { histogram.record(nanoseconds: 1) } }
            }
        }
        #expect(histogram.counts.first == 80_000)
        #expect(histogram.sum == 80_000)
    }
}
