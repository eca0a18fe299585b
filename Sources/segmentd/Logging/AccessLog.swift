import Logging
import SegmentAPI

/// One line a request: what was asked of which route and what became of it, but no payload and no
/// session.
final class AccessLog: Sendable {
    private static let level = Logger.Level.info

    private let format: LogFormat
    private let sink: LogSink
    private let clock = LogClock()

    private init(format: LogFormat, sink: LogSink) {
        self.format = format
        self.sink = sink
    }

    /// What is to be called for each request: nothing but a return where nobody wants the lines.
    static func recorder(
        level: Logger.Level, format: LogFormat, sink: LogSink
    ) -> @Sendable (AccessRecord) -> Void {
        guard level <= Self.level else { return { _ in } }
        let log = AccessLog(format: format, sink: sink)
        return { log.write($0) }
    }

    private func write(_ record: AccessRecord) {
        switch format {
        case .text: writeText(record)
        case .json: sink.append(Self.json(record))
        }
    }

    /// How long a line may be without the method, the route and the outcome.
    private static let byteLimit = Timestamp.byteCount + RequestID.byteLimit + 160

    /// The room for a line that is no longer than nearly all are.
    private static let usualByteLimit = 512

    private func writeText(_ record: AccessRecord) {
        // The method is the one thing that came from the client.
        let method = LogFormat.printable(record.method)
        let byteCount =
            Self.byteLimit + method.utf8.count + record.route.utf8.count
            + record.outcome.utf8.count
        guard byteCount <= Self.usualByteLimit else {
            var line: [UInt8] = []
            line.append(addingCapacity: byteCount) { write(record, method, to: &$0) }
            return sink.append(line)
        }
        unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: Self.usualByteLimit) {
            var line = unsafe OutputSpan(buffer: $0, initializedCount: 0)
            write(record, method, to: &line)
            sink.append(line.span)
            _ = unsafe line.finalize(for: $0)
        }
    }

    private func write(
        _ record: AccessRecord, _ method: String, to line: inout OutputSpan<UInt8>
    ) {
        clock.append(to: &line)
        line.append(word: " info segmentd: ")
        line.append(method)
        line.append(UInt8(ascii: " "))
        line.append(record.route)
        line.append(UInt8(ascii: " "))
        if let status = record.status {
            line.append(decimal: UInt64(clamping: status))
        } else {
            line.append(UInt8(ascii: "-"))
        }
        line.append(UInt8(ascii: " "))
        line.append(decimal: UInt64(clamping: record.byteCount))
        line.append(word: " B ")
        Self.appendMilliseconds(of: record, to: &line)
        line.append(word: " ms id=")
        record.requestID.append(to: &line)
        if let trace = record.trace {
            line.append(word: " trace=")
            line.append(trace.id)
            line.append(word: " span=")
            line.append(trace.span)
        }
        if record.outcome != "completed" {
            line.append(UInt8(ascii: " "))
            line.append(record.outcome)
        }
        line.append(UInt8(ascii: "\n"))
    }

    private static func json(_ record: AccessRecord) -> [UInt8] {
        LogFormat.json(level, "request") { writer in
            writer.member("method", record.method)
            writer.member("route", record.route)
            writer.member("status", orNull: record.status)
            writer.member("bytes", record.byteCount)
            var duration: [UInt8] = []
            duration.append(addingCapacity: 24) { appendMilliseconds(of: record, to: &$0) }
            if let duration = JSONNumber(String(decoding: duration, as: UTF8.self)) {
                writer.member("duration_ms") { $0.number(duration) }
            }
            writer.member("request_id", record.requestID.description)
            writer.member("trace_id", ifPresent: record.trace?.id)
            writer.member("span_id", ifPresent: record.trace?.span)
            writer.member("outcome", record.outcome)
        }
    }

    /// Appends the duration in milliseconds, to the microsecond.
    private static func appendMilliseconds(
        of record: AccessRecord, to line: inout OutputSpan<UInt8>
    ) {
        let microseconds = record.nanoseconds / 1_000
        line.append(decimal: microseconds / 1_000)
        line.append(UInt8(ascii: "."))
        line.append(decimal: microseconds % 1_000, width: 3)
    }
}
