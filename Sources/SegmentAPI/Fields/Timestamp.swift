/// An instant, written in UTC with milliseconds as of RFC 3339: `2024-02-29T12:00:00.000Z`.
package struct Timestamp: Sendable, Equatable, Comparable {
    /// Whole seconds since the beginning of 1970, leap seconds not counted.
    package let seconds: Int
    /// The rest of a second, 0 to 999999999.
    package let nanoseconds: Int

    /// Makes an instant of what the clocks of the system tell.
    ///
    /// Nanoseconds are kept within a second, and seconds within the years 0000 to 9999, which are
    /// the only ones RFC 3339 can write.
    package init(seconds: Int, nanoseconds: Int = 0) {
        self.seconds = min(max(seconds, -62_167_219_200), 253_402_300_799)
        self.nanoseconds = min(max(nanoseconds, 0), 999_999_999)
    }

    package static func < (left: Timestamp, right: Timestamp) -> Bool {
        (left.seconds, left.nanoseconds) < (right.seconds, right.nanoseconds)
    }

    /// How many bytes the text of an instant has.
    package static let byteCount = 24

    /// Appends the text of the instant.
    package func append(to output: inout [UInt8]) {
        output.append(addingCapacity: Self.byteCount) { append(to: &$0) }
    }

    /// Appends the text of the instant.
    package func append(to output: inout OutputSpan<UInt8>) {
        let secondsADay = 86_400
        let secondOfDay = ((seconds % secondsADay) + secondsADay) % secondsADay
        let date = Self.date(ofDay: (seconds - secondOfDay) / secondsADay)
        func append(_ number: Int, _ width: Int, _ next: Unicode.Scalar) {
            output.append(decimal: UInt64(number.magnitude), width: width)
            output.append(UInt8(ascii: next))
        }
        append(date.year, 4, "-")
        append(date.month, 2, "-")
        append(date.day, 2, "T")
        append(secondOfDay / 3600, 2, ":")
        append(secondOfDay / 60 % 60, 2, ":")
        append(secondOfDay % 60, 2, ".")
        append(nanoseconds / 1_000_000, 3, "Z")
    }

    /// The date of a day counted from the beginning of 1970, in the Gregorian calendar.
    ///
    /// The calendar repeats after 400 years. Years are counted from the first of March, so that
    /// the day that leap years have more is the last of its year.
    private static func date(ofDay day: Int) -> (year: Int, month: Int, day: Int) {
        let daysAnEra = 146_097
        let dayZero = 719_468  // From the first of March of the year 0 to the beginning of 1970.
        let days = day + dayZero
        let era = (days >= 0 ? days : days - (daysAnEra - 1)) / daysAnEra
        let dayOfEra = days - era * daysAnEra
        let yearOfEra =
            (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        // Five months from March on, and again from August on, have 153 days.
        let monthFromMarch = (5 * dayOfYear + 2) / 153
        let dayOfMonth = dayOfYear - (153 * monthFromMarch + 2) / 5 + 1
        let month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9
        return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, dayOfMonth)
    }
}

extension Timestamp: CustomStringConvertible {
    package var description: String {
        var bytes: [UInt8] = []
        append(to: &bytes)
        return String(decoding: bytes, as: UTF8.self)
    }
}

extension Timestamp: JSONWritable {
    package func write(to writer: inout JSONWriter) {
        writer.string(upTo: Self.byteCount) { append(to: &$0) }
    }
}
