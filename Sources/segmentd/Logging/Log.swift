import Glibc
import Logging
import SegmentAPI
import SegmentService

/// The log of the program, on its standard error stream.
struct Log {
    /// For messages.
    let logger: Logger
    /// For requests.
    let access: @Sendable (AccessRecord) -> Void
    /// For what may have to be accounted for.
    let audit: @Sendable (AuditEvent) -> Void

    private let handler: LineHandler

    /// Starts the log.
    init(_ configuration: Configuration) throws(StartError) {
        let (level, format) = (configuration.logLevel, configuration.logFormat)
        let sink = LogSink(descriptor: STDERR_FILENO) { count in
            format.line(.warning, "lines of this log were dropped", ["count": "\(count)"])
        }
        try sink.start()
        handler = LineHandler(level: level, format: format, sink: sink)
        logger = Logger(label: "segmentd") { [handler] _ in handler }
        access = AccessLog.recorder(level: level, format: format, sink: sink)
        audit = AuditLog.recorder(level: level, format: format, sink: sink)
    }

    /// Says something whatever the level is.
    func announce(_ message: String) {
        handler.sink.append(handler.format.line(.notice, message, [:]))
    }

    /// Gives the reader a moment to take what is left.
    func close() { handler.sink.close(withinMilliseconds: 200) }
}
