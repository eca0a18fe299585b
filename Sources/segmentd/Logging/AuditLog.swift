import Logging
import SegmentAPI
import SegmentService

/// One line for each event that an operator may have to account for.
///
/// The names of the fields are part of the program's interface: scripts look for them.
struct AuditLog {
    private static let level = Logger.Level.notice

    private let format: LogFormat
    private let sink: LogSink

    /// What is to be called for each event: nothing but a return where nobody wants the lines.
    static func recorder(
        level: Logger.Level, format: LogFormat, sink: LogSink
    ) -> @Sendable (AuditEvent) -> Void {
        guard level <= Self.level else { return { _ in } }
        let log = AuditLog(format: format, sink: sink)
        return { log.write($0) }
    }

    private func write(_ event: AuditEvent) {
        switch format {
        case .text: sink.append(Self.text(event))
        case .json: sink.append(Self.json(event))
        }
    }

    private static func text(_ event: AuditEvent) -> [UInt8] {
        LogFormat.text(level) { line in
            line.append(contentsOf: "audit event=\(event.kind.rawValue)".utf8)
            for (name, value) in words(of: event) {
                guard let value else { continue }
                line.append(contentsOf: " \(name)=\(LogFormat.quoted(value))".utf8)
            }
            for (name, value) in numbers(of: event) {
                guard let value else { continue }
                line.append(contentsOf: " \(name)=\(value)".utf8)
            }
        }
    }

    private static func json(_ event: AuditEvent) -> [UInt8] {
        LogFormat.json(level, "audit") { writer in
            writer.member("event", event.kind.rawValue)
            for (name, value) in words(of: event) { writer.member(name, ifPresent: value) }
            for (name, value) in numbers(of: event) { writer.member(name, ifPresent: value) }
        }
    }

    private static func words(of event: AuditEvent) -> KeyValuePairs<String, String?> {
        [
            "reason": event.reason, "segment": event.segment, "session": event.session,
            "remote": event.remote, "method": event.method, "route": event.route,
            "request_id": event.requestID,
        ]
    }

    private static func numbers(of event: AuditEvent) -> KeyValuePairs<String, Int?> {
        ["bytes": event.byteCount, "token_line": event.tokenLine]
    }
}
