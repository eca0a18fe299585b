/// The escapes of a key's text form: `%` and two hexadecimal digits for a byte of UTF-8.
enum PercentEncoding {
    /// Escapes control characters and the ASCII characters of `reserved`, and nothing else.
    static func encode(_ text: String, escaping reserved: String) -> String {
        let digits = Array("0123456789ABCDEF".utf8)
        var bytes: [UInt8] = []
        for byte in text.utf8 {
            if byte < 0x20 || byte == 0x7F || reserved.utf8.contains(byte) {
                bytes += [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            } else {
                bytes.append(byte)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// Tells whether a `%` lacks its two hexadecimal digits.
    static func hasMalformedEscape(_ bytes: ArraySlice<UInt8>) -> Bool {
        bytes.indices.contains { index in
            bytes[index] == UInt8(ascii: "%") && escapedByte(bytes[index...]) == nil
        }
    }

    /// Replaces escapes by what they stand for, or none at all if one of them is malformed.
    static func decode(_ bytes: ArraySlice<UInt8>, admittingNoncharacters: Bool) -> String {
        decode(
            bytes,
            isLiteral: hasMalformedEscape(bytes),
            admittingNoncharacters: admittingNoncharacters
        )
    }

    /// Replaces escapes by what they stand for, unless the text is to be taken literally.
    ///
    /// Every escaped byte that is no part of UTF-8 becomes U+FFFD. So does every byte of an
    /// escaped noncharacter, unless these are admitted.
    static func decode(
        _ bytes: ArraySlice<UInt8>,
        isLiteral: Bool,
        admittingNoncharacters: Bool = true
    ) -> String {
        guard !isLiteral else { return String(decoding: bytes, as: UTF8.self) }
        var result: [UInt8] = []
        var rest = bytes
        while let byte = rest.first {
            // Neighbouring escapes are decoded together: a character may need several of them.
            var run: [UInt8] = []
            while let escaped = escapedByte(rest) {
                run.append(escaped)
                rest = rest.dropFirst(3)
            }
            if run.isEmpty {
                result.append(byte)
                rest = rest.dropFirst()
            } else {
                result += repair(run, admittingNoncharacters: admittingNoncharacters).utf8
            }
        }
        return String(decoding: result, as: UTF8.self)
    }

    private static func escapedByte(_ bytes: ArraySlice<UInt8>) -> UInt8? {
        guard bytes.count >= 3, bytes.first == UInt8(ascii: "%"),
            let high = hexadecimalValue(bytes[bytes.startIndex + 1]),
            let low = hexadecimalValue(bytes[bytes.startIndex + 2])
        else { return nil }
        return high << 4 | low
    }

    private static func hexadecimalValue(_ digit: UInt8) -> UInt8? {
        switch digit {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
        case UInt8(ascii: "A")...UInt8(ascii: "F"): digit - UInt8(ascii: "A") + 10
        case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
        default: nil
        }
    }

    // Not `String(decoding:as:)`: that makes one U+FFFD of a truncated sequence, Qt one a byte.
    private static func repair(_ bytes: [UInt8], admittingNoncharacters: Bool) -> String {
        var result = String.UnicodeScalarView()
        var rest = bytes[...]
        while !rest.isEmpty {
            let character = (1...4).lazy
                .compactMap { String(validating: rest.prefix($0), as: UTF8.self) }
                .first?.unicodeScalars.first
            if let character, admittingNoncharacters || !character.isNoncharacter {
                result.append(character)
                rest = rest.dropFirst(UTF8.width(character))
            } else {
                result.append("\u{FFFD}")
                rest = rest.dropFirst()
            }
        }
        return String(result)
    }
}

extension Unicode.Scalar {
    fileprivate var isNoncharacter: Bool {
        value & 0xFFFE == 0xFFFE || (0xFDD0...0xFDEF).contains(value)
    }
}
