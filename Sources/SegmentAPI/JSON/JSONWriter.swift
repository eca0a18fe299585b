/// A value that knows how to write itself as JSON.
package protocol JSONWritable {
    /// Writes one JSON value.
    func write(to writer: inout JSONWriter)
}

/// A writer of JSON texts, straight into bytes.
///
/// ```swift
/// var writer = JSONWriter()
/// writer.object {
///     $0.member("segment", id)
///     $0.member("fencing_token", ifPresent: token)
///     $0.member("lock") { $0.object { $0.member("state", "free") } }
/// }
/// ```
///
/// The writer sets the commas. That an object holds members and an array values is the caller's
/// part.
package struct JSONWriter {
    /// What has been written so far.
    package private(set) var bytes: [UInt8]

    private var needsComma = false

    /// Makes a writer that appends to some bytes, none unless said otherwise.
    package init(appendingTo bytes: consuming [UInt8] = []) {
        self.bytes = bytes
    }

    /// The text of a single value.
    package static func text(of value: some JSONWritable) -> [UInt8] {
        var writer = JSONWriter()
        writer.bytes.reserveCapacity(usualByteCount)
        writer.value(value)
        return writer.bytes
    }

    /// What most values are content with.
    private static let usualByteCount = 224

    // MARK: Values

    /// Writes an object whose members the closure writes.
    package mutating func object<Failure>(
        _ body: (inout JSONWriter) throws(Failure) -> Void
    ) throws(Failure) {
        begin(UInt8(ascii: "{"))
        try body(&self)
        end(UInt8(ascii: "}"))
    }

    /// Writes an array whose elements the closure writes.
    package mutating func array<Failure>(
        _ body: (inout JSONWriter) throws(Failure) -> Void
    ) throws(Failure) {
        begin(UInt8(ascii: "["))
        try body(&self)
        end(UInt8(ascii: "]"))
    }

    /// Writes a value.
    package mutating func value(_ value: some JSONWritable) {
        value.write(to: &self)
    }

    /// Writes `null`.
    package mutating func null() { literal("null") }

    /// Writes `true` or `false`.
    package mutating func bool(_ value: Bool) { literal(value ? "true" : "false") }

    /// Writes a number as it was read.
    package mutating func number(_ value: JSONNumber) { literal(value.text) }

    /// Writes an integer, however large, as a number.
    package mutating func integer(_ value: some FixedWidthInteger) {
        separate()
        bytes.appendDecimal(value)
    }

    /// Writes an integer as a number, or as a string where a double could not hold it exactly.
    package mutating func wideInteger(_ value: some FixedWidthInteger) {
        guard value.magnitude > 1 << 53 as UInt64 else { return integer(value) }
        separate()
        bytes.append(UInt8(ascii: "\""))
        bytes.appendDecimal(value)
        bytes.append(UInt8(ascii: "\""))
    }

    /// Writes a string, escaping only what has to be.
    package mutating func string(_ value: String) {
        separate()
        appendQuoted(value)
    }

    /// Writes a string of at most so many bytes that the closure writes, of which none has to be
    /// escaped.
    package mutating func string(upTo byteCount: Int, _ write: (inout OutputSpan<UInt8>) -> Void) {
        separate()
        bytes.append(addingCapacity: byteCount + 2) { output in
            output.append(UInt8(ascii: "\""))
            write(&output)
            output.append(UInt8(ascii: "\""))
        }
    }

    /// Writes a string that holds some bytes in base64.
    package mutating func base64(_ value: Span<UInt8>) {
        separate()
        bytes.append(UInt8(ascii: "\""))
        Base64.encode(value, into: &bytes)
        bytes.append(UInt8(ascii: "\""))
    }

    // MARK: Members of an object

    /// Writes a member whose value the closure writes.
    package mutating func member<Failure>(
        _ name: String,
        _ body: (inout JSONWriter) throws(Failure) -> Void
    ) throws(Failure) {
        self.name(name)
        try body(&self)
    }

    /// Writes a member.
    package mutating func member(_ name: String, _ value: some JSONWritable) {
        self.name(name)
        value.write(to: &self)
    }

    /// Writes a member unless its value is nil.
    package mutating func member(_ name: String, ifPresent value: (some JSONWritable)?) {
        if let value { member(name, value) }
    }

    /// Writes a member whose value is `null` when there is none.
    package mutating func member(_ name: String, orNull value: (some JSONWritable)?) {
        self.name(name)
        if let value { value.write(to: &self) } else { null() }
    }

    /// Writes a member that is a number, or a string where a double could not hold it exactly.
    package mutating func member(_ name: String, wide value: some FixedWidthInteger) {
        self.name(name)
        wideInteger(value)
    }

    /// Writes a member that holds some bytes in base64.
    package mutating func member(_ name: String, base64 value: Span<UInt8>) {
        self.name(name)
        base64(value)
    }

    /// Writes the name of a member; its value has to follow.
    package mutating func name(_ name: String) {
        separate()
        appendQuoted(name)
        bytes.append(UInt8(ascii: ":"))
        needsComma = false
    }

    // MARK: Bytes

    private mutating func begin(_ bracket: UInt8) {
        separate()
        bytes.append(bracket)
        needsComma = false
    }

    private mutating func end(_ bracket: UInt8) {
        bytes.append(bracket)
        needsComma = true
    }

    /// Sets a comma where one is due, and has one due after what follows.
    private mutating func separate() {
        if needsComma { bytes.append(UInt8(ascii: ",")) }
        needsComma = true
    }

    private mutating func literal(_ text: String) {
        separate()
        bytes.append(contentsOf: text.utf8)
    }

    private mutating func appendQuoted(_ text: String) {
        guard !Self.isPlain(text.utf8.span) else {
            return bytes.append(addingCapacity: text.utf8.count + 2) { output in
                output.append(UInt8(ascii: "\""))
                output.append(copying: text.utf8.span)
                output.append(UInt8(ascii: "\""))
            }
        }
        bytes.append(UInt8(ascii: "\""))
        for byte in text.utf8 { appendEscaped(byte) }
        bytes.append(UInt8(ascii: "\""))
    }

    private static func isPlain(_ text: Span<UInt8>) -> Bool {
        for index in text.indices where needsEscape(text[index]) { return false }
        return true
    }

    private static func needsEscape(_ byte: UInt8) -> Bool {
        byte < 0x20 || byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\")
    }

    private mutating func appendEscaped(_ byte: UInt8) {
        guard Self.needsEscape(byte) else { return bytes.append(byte) }
        bytes.append(UInt8(ascii: "\\"))
        switch byte {
        case UInt8(ascii: "\n"): bytes.append(UInt8(ascii: "n"))
        case UInt8(ascii: "\r"): bytes.append(UInt8(ascii: "r"))
        case UInt8(ascii: "\t"): bytes.append(UInt8(ascii: "t"))
        case 0x08: bytes.append(UInt8(ascii: "b"))
        case 0x0C: bytes.append(UInt8(ascii: "f"))
        case UInt8(ascii: "\""), UInt8(ascii: "\\"): bytes.append(byte)
        default:
            bytes.append(contentsOf: "u00".utf8)
            bytes.append((byte >> 4).hexDigit)
            bytes.append(byte.hexDigit)
        }
    }
}
