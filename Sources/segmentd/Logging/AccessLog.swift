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
            let status = record.status.map(String.init) ?? "-"
            let outcome = record.outcome == "completed" ? "" : " \(record.outcome)"
            let trace = record.trace.map { " trace=\($0.id) span=\($0.span)" } ?? ""
            let message = """
                \(record.method) \(record.route) \(status) \(record.byteCount) B \
                \(milliseconds(record)) ms id=\(record.requestID)\(trace)\(outcome)
                """
            line.append(contentsOf: LogFormat.printable(message).utf8)
        }
    }

    private static func json(_ record: AccessRecord) -> [UInt8] {
        LogFormat.json(level, "request") { writer in
            writer.member("method", record.method)
            writer.member("route", record.route)
            writer.member("status", orNull: record.status)
            writer.member("bytes", record.byteCount)
            if let duration = JSONNumber(milliseconds(record)) {
                writer.member("duration_ms") { $0.number(duration) }
            }
            writer.member("request_id", record.requestID)
            writer.member("trace_id", ifPresent: record.trace?.id)
            writer.member("span_id", ifPresent: record.trace?.span)
            writer.member("outcome", record.outcome)
        }
    }

    /// The duration in milliseconds, to the microsecond.
    private static func milliseconds(_ record: AccessRecord) -> String {
        let microseconds = record.nanoseconds / 1_000
        let fraction = String(microseconds % 1_000)
        let zeros = String(repeating: "0", count: 3 - fraction.utf8.count)
        return "\(microseconds / 1_000).\(zeros)\(fraction)"
    }
}
