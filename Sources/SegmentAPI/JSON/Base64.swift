/// Base64 as of RFC 4648, section 4: the common alphabet, with padding and without line breaks.
package enum Base64 {
    /// How many characters stand for a number of bytes, padding included.
    package static func encodedCount(of byteCount: Int) -> Int {
        let groups = byteCount / 3 + (byteCount % 3 > 0 ? 1 : 0)
        return groups.multipliedReportingOverflow(by: 4).overflow ? .max : groups * 4
    }

    /// Appends the text that stands for some bytes.
    package static func encode(_ bytes: Span<UInt8>, into output: inout [UInt8]) {
        var encoder = Encoder()
        encoder.append(bytes, to: &output)
        encoder.finish(&output)
    }

    /// An encoder that takes its bytes in pieces of any size.
    ///
    /// The pieces come out as one text: up to two bytes wait inside for those that complete them.
    package struct Encoder: Sendable {
        // The bytes that wait, the first in the highest place.
        private var carry: UInt32 = 0
        private var carryCount = 0

        package init() {}

        /// Appends the text of the next piece.
        package mutating func append(_ bytes: Span<UInt8>, to output: inout [UInt8]) {
            var start = 0
            while carryCount > 0 && carryCount < 3 && start < bytes.count {
                carry = carry << 8 | UInt32(bytes[start])
                carryCount += 1
                start += 1
            }
            if carryCount == 3 {
                output.append(Base64.character(carry >> 18))
                output.append(Base64.character(carry >> 12))
                output.append(Base64.character(carry >> 6))
                output.append(Base64.character(carry))
                (carry, carryCount) = (0, 0)
            }
            let whole = (bytes.count - start) / 3
            let alphabet = Base64.alphabet
            output.append(addingCapacity: whole * 4) { output in
                for group in 0..<whole {
                    let first = start + group * 3
                    let bits =
                        UInt32(bytes[first]) << 16 | UInt32(bytes[first + 1]) << 8
                        | UInt32(bytes[first + 2])
                    output.append(alphabet[Int(bits >> 18 & 63)])
                    output.append(alphabet[Int(bits >> 12 & 63)])
                    output.append(alphabet[Int(bits >> 6 & 63)])
                    output.append(alphabet[Int(bits & 63)])
                }
            }
            for index in start + whole * 3..<bytes.count {
                carry = carry << 8 | UInt32(bytes[index])
                carryCount += 1
            }
        }

        /// Appends what is left, with its padding, and is ready for another text.
        package mutating func finish(_ output: inout [UInt8]) {
            let padding = UInt8(ascii: "=")
            if carryCount == 1 {
                output.append(Base64.character(carry >> 2))
                output.append(Base64.character(carry << 4))
                output.append(padding)
                output.append(padding)
            } else if carryCount == 2 {
                output.append(Base64.character(carry >> 10))
                output.append(Base64.character(carry >> 4))
                output.append(Base64.character(carry << 2))
                output.append(padding)
            }
            (carry, carryCount) = (0, 0)
        }
    }

    /// The bytes a text stands for.
    ///
    /// Nil unless the text is exactly what an encoder writes: padded, without whitespace, and with
    /// no stray bits in its last character.
    package static func decode(_ text: String) -> [UInt8]? {
        let characters = Array(text.utf8)
        guard characters.count.isMultiple(of: 4) else { return nil }
        let padding = characters.reversed().prefix(2).prefix { $0 == UInt8(ascii: "=") }.count
        var bytes: [UInt8] = []
        bytes.reserveCapacity(characters.count / 4 * 3)
        var bits: UInt32 = 0
        for (index, character) in characters.dropLast(padding).enumerated() {
            guard let value = value(of: character) else { return nil }
            bits = bits << 6 | UInt32(value)
            // Each character but the first of four completes a byte.
            let position = index & 3
            if position > 0 { bytes.append(UInt8(truncatingIfNeeded: bits >> (6 - 2 * position))) }
        }
        let strayBits: UInt32 = padding == 0 ? 0 : padding == 1 ? 0b11 : 0b1111
        return bits & strayBits == 0 ? bytes : nil
    }

    private static let alphabet: InlineArray<64, UInt8> = {
        let text = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
        return InlineArray { text[$0] }
    }()

    /// The character for the low six bits.
    fileprivate static func character(_ bits: UInt32) -> UInt8 { alphabet[Int(bits & 63)] }

    private static func value(of character: UInt8) -> UInt8? {
        switch Unicode.Scalar(character) {
        case "A"..."Z": character - UInt8(ascii: "A")
        case "a"..."z": character - UInt8(ascii: "a") + 26
        case "0"..."9": character - UInt8(ascii: "0") + 52
        case "+": 62
        case "/": 63
        default: nil
        }
    }
}
