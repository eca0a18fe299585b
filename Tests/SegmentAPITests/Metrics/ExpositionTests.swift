import SegmentService
import Testing

@testable import SegmentAPI

@Suite struct ExpositionTests {
    @Test func `a sample has its labels in the order given`() {
        var page = Exposition()
        page.family("some_things", .gauge, "Things.")
        page.sample(["kind": "a", "place": "/v1/{x}"], 3)
        page.sample(4)
        #expect(
            String(decoding: page.bytes, as: UTF8.self) == """
                # HELP some_things Things.
                # TYPE some_things gauge
                some_things{kind="a",place="/v1/{x}"} 3
                some_things 4

                """)
    }

    @Test func `a histogram adds its buckets up`() {
        let histogram = Histogram()
        for duration in [1, 60_000, 60_000, 400_000_000_000] as [UInt64] {
            histogram.record(nanoseconds: duration)
        }
        var page = Exposition()
        page.family("wait_seconds", .histogram, "Waits.")
        page.histogram(["a": "b"], histogram)
        let lines = String(decoding: page.bytes, as: UTF8.self).split(separator: "\n")
        #expect(lines[2] == #"wait_seconds_bucket{a="b",le="0.00005"} 1"#)
        #expect(lines[3] == #"wait_seconds_bucket{a="b",le="0.0001"} 3"#)
        #expect(
            lines.suffix(4) == [
                #"wait_seconds_bucket{a="b",le="300"} 3"#,
                #"wait_seconds_bucket{a="b",le="+Inf"} 4"#,
                #"wait_seconds_sum{a="b"} 400.000120001"#, #"wait_seconds_count{a="b"} 4"#,
            ])
    }

    @Test(
        arguments: [
            (0, "0"), (1, "0.000000001"), (1_000_000_000, "1"), (2_500_000_000, "2.5"),
            (1_795_570_497_110_000_000, "1795570497.11"),
        ] as [(UInt64, String)])
    func `seconds are exact`(nanoseconds: UInt64, text: String) {
        #expect(seconds(nanoseconds) == text)
    }
}
