import Logging
import SegmentAPI

/// One line a request: what was asked of which route and what became of it, but no payload and no
/// session.
struct AccessLog {
    private static let level = Logger.Level.info

    private let format: LogFormat
    private let sink: LogSink

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
        case .text: sink.append(Self.text(record))
        case .json: sink.append(Self.json(record))
        }
    }

    private static func text(_ record: AccessRecord) -> [UInt8] {
        LogFormat.text(level) { line in
            // The method is the one thing that came from the client.
            line.append(contentsOf: LogFormat.printable(record.method).utf8)
            line.append(UInt8(ascii: " "))
            line.append(contentsOf: record.route.utf8)
            line.append(UInt8(ascii: " "))
            if let status = record.status {
                line.appendDecimal(status)
            } else {
                line.append(UInt8(ascii: "-"))
            }
            line.append(UInt8(ascii: " "))
            line.appendDecimal(record.byteCount)
            line.append(contentsOf: " B ".utf8)
            appendMilliseconds(of: record, to: &line)
            line.append(contentsOf: " ms id=".utf8)
            record.requestID.append(to: &line)
            if let trace = record.trace {
                line.append(contentsOf: " trace=\(trace.id) span=\(trace.span)".utf8)
            }
            if record.outcome != "completed" { line.append(contentsOf: " \(record.outcome)".utf8) }
        }
    }

    private static func json(_ record: AccessRecord) -> [UInt8] {
        LogFormat.json(level, "request") { writer in
            writer.member("method", record.method)
            writer.member("route", record.route)
            writer.member("status", orNull: record.status)
            writer.member("bytes", record.byteCount)
            var duration: [UInt8] = []
            appendMilliseconds(of: record, to: &duration)
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
    private static func appendMilliseconds(of record: AccessRecord, to line: inout [UInt8]) {
        let microseconds = Int(clamping: record.nanoseconds / 1_000)
        line.appendDecimal(microseconds / 1_000)
        line.append(UInt8(ascii: "."))
        line.appendDecimal(microseconds % 1_000, width: 3)
    }
}
