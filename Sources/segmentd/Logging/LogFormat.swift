import Logging
import SegmentAPI
import SharedMemory

/// The form of the lines of the log.
enum LogFormat: String {
    /// `2026-11-23T18:30:12.345Z info segmentd: message key=value`
    case text
    /// One JSON object a line.
    case json

    /// Makes a line of a message and what goes with it.
    func line(_ level: Logger.Level, _ message: String, _ metadata: Logger.Metadata) -> [UInt8] {
        let members = metadata.sorted { $0.key < $1.key }.lazy.map { ($0.key, "\($0.value)") }
        switch self {
        case .text:
            return Self.text(level) { line in
                line.append(contentsOf: Self.printable(message).utf8)
                for (name, value) in members {
                    line.append(contentsOf: " \(name)=\(Self.quoted(value))".utf8)
                }
            }
        case .json:
            return Self.json(level, message) { writer in
                for (name, value) in members { writer.member(name, value) }
            }
        }
    }

    /// Makes a line of text whose message the closure appends.
    static func text(_ level: Logger.Level, _ message: (inout [UInt8]) -> Void) -> [UInt8] {
        var line: [UInt8] = []
        line.reserveCapacity(160)
        now.append(to: &line)
        line.append(UInt8(ascii: " "))
        line.append(contentsOf: level.rawValue.utf8)
        line.append(contentsOf: " segmentd: ".utf8)
        message(&line)
        line.append(UInt8(ascii: "\n"))
        return line
    }

    /// Makes a line of JSON whose further members the closure writes.
    static func json(
        _ level: Logger.Level, _ message: String, _ members: (inout JSONWriter) -> Void
    ) -> [UInt8] {
        var writer = JSONWriter()
        writer.object { writer in
            writer.member("time", now)
            writer.member("level", level.rawValue)
            writer.member("message", message)
            members(&writer)
        }
        return writer.bytes + [UInt8(ascii: "\n")]
    }

    /// The text without anything that would break the line or steer a terminal.
    static func printable(_ text: String) -> String {
        func isControl(_ scalar: Unicode.Scalar) -> Bool {
            scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value)
        }
        guard !isPlain(text.utf8.span), text.unicodeScalars.contains(where: isControl) else {
            return text
        }
        return text.unicodeScalars.map { isControl($0) ? $0.escaped(asASCII: true) : String($0) }
            .joined()
    }

    /// Whether there are only characters of ASCII, and none that steers anything.
    private static func isPlain(_ text: Span<UInt8>) -> Bool {
        for index in text.indices where text[index] < 0x20 || text[index] >= 0x7F { return false }
        return true
    }

    /// The text as the value of a key, in quotes where its end could not be told.
    static func quoted(_ text: String) -> String {
        let needsQuotes = text.isEmpty || text.contains { " =\"".contains($0) }
        guard needsQuotes else { return printable(text) }
        let inside = text.map { $0 == "\"" ? "\\\"" : String($0) }.joined()
        return "\"\(printable(inside))\""
    }

    private static var now: Timestamp {
        let now = WallTime.now
        return Timestamp(seconds: Int(now.seconds), nanoseconds: Int(now.nanoseconds))
    }
}
