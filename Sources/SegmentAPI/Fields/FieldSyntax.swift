import Glibc

// The small grammar that fields, queries and JSON share: classes of bytes, decimal numbers, text.

extension UInt8 {
    /// Whether the byte is one of `0` to `9`.
    var isDigit: Bool { self &- UInt8(ascii: "0") < 10 }

    /// Whether the byte is an ASCII letter.
    var isLetter: Bool { (self | 0x20) &- UInt8(ascii: "a") < 26 }

    /// Whether the byte may stand in a token (RFC 9110, section 5.6.2).
    var isTokenCharacter: Bool {
        if isDigit || isLetter { return true }
        return switch Unicode.Scalar(self) {
        case "!", "#", "$", "%", "&", "'", "*", "+", "-", ".", "^", "_", "`", "|", "~": true
        default: false
        }
    }

    /// Whether the byte is optional whitespace: a space or a tab.
    var isOptionalWhitespace: Bool { self == UInt8(ascii: " ") || self == UInt8(ascii: "\t") }

    /// The byte with an ASCII capital made small.
    var lowercased: UInt8 {
        self &- UInt8(ascii: "A") < 26 ? self | 0x20 : self
    }

    /// The value of a hexadecimal digit of either case, or nil for any other byte.
    var hexValue: UInt8? {
        if isDigit { return self &- UInt8(ascii: "0") }
        let letter = (self | 0x20) &- UInt8(ascii: "a")
        return letter < 6 ? letter + 10 : nil
    }

    /// The digit that stands for the low four bits: `0` to `9`, then `a` to `f`.
    var hexDigit: UInt8 {
        let nibble = self & 0xF
        return nibble < 10 ? nibble + UInt8(ascii: "0") : nibble - 10 + UInt8(ascii: "a")
    }
}

extension Span<UInt8> {
    var first: UInt8? { isEmpty ? nil : self[0] }

    /// Whether the bytes are the same.
    func isEqual(to other: [UInt8]) -> Bool {
        guard count == other.count else { return false }
        return unsafe withUnsafeBufferPointer { left in
            unsafe other.withUnsafeBufferPointer { right in
                guard let left = left.baseAddress, let right = right.baseAddress else {
                    return true
                }
                return unsafe memcmp(left, right, other.count) == 0
            }
        }
    }

    /// The bytes as text; what is not UTF-8 is replaced.
    var text: String { String(decoding: Array(copying: self), as: UTF8.self) }

    /// The bytes as text, if they are UTF-8.
    var validText: String? {
        guard let text = try? UTF8Span(validating: self) else { return nil }
        return String(copying: text)
    }
}

extension [UInt8] {
    /// Copies the bytes of a span.
    init(copying bytes: Span<UInt8>) {
        self = []
        append(copying: bytes)
    }

    /// Appends the bytes of a span.
    package mutating func append(copying bytes: Span<UInt8>) {
        append(addingCapacity: bytes.count) { $0.append(copying: bytes) }
    }

    /// Appends an integer in decimal, without a detour through a string.
    package mutating func appendDecimal(_ value: some FixedWidthInteger) {
        guard let magnitude = UInt64(exactly: value.magnitude) else {
            return append(contentsOf: String(value).utf8)  // wider than any of ours
        }
        if value < 0 { append(UInt8(ascii: "-")) }
        appendDecimal(magnitude: magnitude)
    }

    /// Appends an integer in decimal.
    package mutating func appendDecimal(_ value: Int) {
        if value < 0 { append(UInt8(ascii: "-")) }
        appendDecimal(magnitude: UInt64(value.magnitude))
    }

    private mutating func appendDecimal(magnitude: UInt64) {
        append(addingCapacity: 20) { $0.append(decimal: magnitude) }
    }

    /// Appends a number that is not negative in exactly `width` decimal digits.
    ///
    /// Digits that do not fit are left out from the left.
    package mutating func appendDecimal(_ value: Int, width: Int) {
        append(addingCapacity: width) { $0.append(decimal: UInt64(value.magnitude), width: width) }
    }
}

extension String {
    /// Whether two strings are the same bytes of UTF-8.
    ///
    /// The `==` of strings calls canonically equivalent text equal (a Kelvin sign and a `K`, say),
    /// which names on a wire must not be.
    func isSameUTF8(as other: String) -> Bool {
        guard utf8.count == other.utf8.count else { return false }
        let (left, right) = (utf8.span, other.utf8.span)
        for index in left.indices where left[index] != right[index] { return false }
        return true
    }

    /// The text in double quotes, fit for a sentence: shortened when long, controls replaced.
    var quotedForSentence: String {
        var quoted = "\""
        for (index, scalar) in unicodeScalars.enumerated() {
            if index == 48 {
                quoted += "…"
                break
            }
            let isControl = scalar.value < 0x20 || scalar.value == 0x7F
            quoted.unicodeScalars.append(isControl ? "\u{FFFD}" : scalar)
        }
        return quoted + "\""
    }
}

/// A reader of a field's value: takes pieces of the grammar off the front of some bytes.
///
/// Every method that finds something else than it looks for leaves the position where it was.
struct FieldScanner {
    private let bytes: [UInt8]
    private(set) var position = 0

    init(_ text: String) { bytes = Array(text.utf8) }

    var isAtEnd: Bool { position == bytes.count }

    /// The next byte, or nil at the end.
    var next: UInt8? { position < bytes.count ? bytes[position] : nil }

    /// Passes over spaces and tabs.
    mutating func skipWhitespace() {
        while let byte = next, byte.isOptionalWhitespace { position += 1 }
    }

    /// Passes over one given character.
    mutating func take(_ character: Unicode.Scalar) -> Bool {
        guard let byte = next, byte == UInt8(ascii: character) else { return false }
        position += 1
        return true
    }

    /// Passes over a token and returns it in small letters; nil when there is none.
    mutating func takeLowercasedToken() -> String? {
        let start = position
        while let byte = next, byte.isTokenCharacter { position += 1 }
        guard position > start else { return nil }
        return String(decoding: bytes[start..<position].map(\.lowercased), as: UTF8.self)
    }

    /// Passes over a token or a quoted string and returns its value; nil when there is neither.
    mutating func takeTokenOrQuotedString() -> String? {
        let start = position
        guard take("\"") else {
            while let byte = next, byte.isTokenCharacter { position += 1 }
            return position > start ? text(start..<position) : nil
        }
        var value: [UInt8] = []
        while var byte = next {
            position += 1
            if byte == UInt8(ascii: "\"") { return String(decoding: value, as: UTF8.self) }
            if byte == UInt8(ascii: "\\") {
                guard let escaped = next else { break }
                byte = escaped
                position += 1
            }
            guard byte >= 0x20 && byte != 0x7F || byte == UInt8(ascii: "\t") else { break }
            value.append(byte)
        }
        position = start
        return nil
    }

    /// Passes over decimal digits and returns their value; nil when there are none.
    ///
    /// A value past `limit` is returned as `limit`.
    mutating func takeDigits(limit: Int) -> Int? {
        let start = position
        var value = 0
        while let byte = next, byte.isDigit {
            let (tenfold, overflows) = value.multipliedReportingOverflow(by: 10)
            let (sum, carries) = tenfold.addingReportingOverflow(Int(byte - UInt8(ascii: "0")))
            value = overflows || carries ? limit : min(sum, limit)
            position += 1
        }
        return position > start ? value : nil
    }

    /// Passes over everything up to the next comma that is not inside a quoted string.
    mutating func skipListElement() {
        var isQuoted = false
        while let byte = next {
            if byte == UInt8(ascii: ",") && !isQuoted { return }
            position += 1
            if byte == UInt8(ascii: "\"") { isQuoted.toggle() }
            if byte == UInt8(ascii: "\\") && isQuoted && position < bytes.count { position += 1 }
        }
    }

    private func text(_ range: Range<Int>) -> String {
        String(decoding: bytes[range], as: UTF8.self)
    }
}
