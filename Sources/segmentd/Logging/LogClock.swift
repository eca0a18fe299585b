import SegmentAPI
import SharedMemory
import Synchronization

/// The time of day as the lines of the log begin with it.
///
/// All but the fraction of a second is the same for many lines in a row, and so made once a second.
final class LogClock: Sendable {
    private struct Second {
        var number: Int64 = .min
        /// As in `2026-11-23T18:30:12.`, with more behind it that is not used.
        var text = InlineArray<24, UInt8>(repeating: 0)
    }

    private let last = Mutex(Second())

    /// How many bytes of a text are the same for a whole second.
    private static let prefixByteCount = 20

    /// Appends the time as it is now: ``Timestamp/byteCount`` bytes.
    func append(to line: inout OutputSpan<UInt8>) {
        let now = WallTime.now
        let text = last.withLock { last in
            if last.number != now.seconds { last = Self.second(now.seconds) }
            return last.text
        }
        line.append(copying: text.span.extracting(0..<Self.prefixByteCount))
        line.append(decimal: UInt64(now.nanoseconds / 1_000_000), width: 3)
        line.append(UInt8(ascii: "Z"))
    }

    private static func second(_ number: Int64) -> Second {
        var text: [UInt8] = []
        Timestamp(seconds: Int(number)).append(to: &text)
        var second = Second(number: number)
        for index in second.text.indices { second.text[index] = text[index] }
        return second
    }
}
