import Foundation
import SegmentAPI
import Testing

struct TimestampTests {
    @Test(arguments: [
        (0, 0, "1970-01-01T00:00:00.000Z"), (-1, 999_999_999, "1969-12-31T23:59:59.999Z"),
        (951_782_399, 1_000_000, "2000-02-28T23:59:59.001Z"),
        (951_782_400, 999_999, "2000-02-29T00:00:00.000Z"),
        (951_868_800, 0, "2000-03-01T00:00:00.000Z"),
        (1_709_208_000, 123_456_789, "2024-02-29T12:00:00.123Z"),
        (2_147_483_647, 0, "2038-01-19T03:14:07.000Z"),
        (4_107_542_399, 0, "2100-02-28T23:59:59.000Z"),
        (4_107_542_400, 0, "2100-03-01T00:00:00.000Z"),
        (253_402_300_799, 999_999_999, "9999-12-31T23:59:59.999Z"),
        (-62_167_219_200, 0, "0000-01-01T00:00:00.000Z"),
        (Int.min, Int.min, "0000-01-01T00:00:00.000Z"),
        (Int.max, Int.max, "9999-12-31T23:59:59.999Z"),
    ])
    func `an instant is written in UTC`(seconds: Int, nanoseconds: Int, text: String) {
        #expect(Timestamp(seconds: seconds, nanoseconds: nanoseconds).description == text)
    }

    @Test func `every day of four centuries is the one that Foundation finds`() {
        let style = Date.ISO8601FormatStyle()
        for day in stride(from: -141_000, through: 141_000, by: 7) {
            let seconds = day * 86_400 + abs(day) % 86_400
            let theirs = Date(timeIntervalSince1970: TimeInterval(seconds)).formatted(style)
            let ours = Timestamp(seconds: seconds).description
            #expect(ours.replacing(".000Z", with: "Z") == theirs)
        }
    }

    @Test func `instants are ordered and write themselves as JSON`() {
        let earlier = Timestamp(seconds: 1, nanoseconds: 5)
        #expect(earlier < Timestamp(seconds: 1, nanoseconds: 6))
        #expect(earlier < Timestamp(seconds: 2))
        #expect(written { $0.value(earlier) } == "\"1970-01-01T00:00:01.000Z\"")
    }
}
