/// A JSON number, kept as the exact text it was written in.
///
/// No number is rounded: what does not fit an integer is known not to fit.
package struct JSONNumber: Sendable, Equatable {
    /// The number as written, such as `4096.0` or `-1e3`.
    package let text: String

    /// Takes a text that follows the grammar of JSON numbers; nil for any other.
    package init?(_ text: String) {
        let bytes = Array(text.utf8)
        guard let end = try? Self.end(of: bytes, from: 0), end == bytes.count else { return nil }
        self.init(wellFormed: text)
    }

    /// Takes a text that is known to follow the grammar.
    init(wellFormed text: String) {
        self.text = text
    }

    /// Whether the number has no fractional part: `4096.0` and `1e3` are whole, `0.5` is not.
    package var isWhole: Bool { significantPart.exponent >= 0 }

    /// The number, when it is whole and fits an `Int`.
    package var exactInt: Int? { exactly(Int.self) }

    /// The number as an integer of a given type, when it is whole and fits.
    package func exactly<Integer: FixedWidthInteger>(_ type: Integer.Type) -> Integer? {
        let (digits, exponent) = significantPart
        guard exponent >= 0 else { return nil }
        let isNegative = text.utf8.first == UInt8(ascii: "-")
        var value: Integer = 0
        // A negative number is summed below zero, where the smallest one fits.
        func shift(adding digit: Integer) -> Bool {
            let (tenfold, overflows) = value.multipliedReportingOverflow(by: 10)
            let (sum, carries) =
                isNegative
                ? tenfold.subtractingReportingOverflow(digit)
                : tenfold.addingReportingOverflow(digit)
            value = sum
            return !overflows && !carries
        }
        for byte in text.utf8.dropFirst(digits.lowerBound).prefix(digits.count)
        where byte.isDigit {
            guard shift(adding: Integer(truncatingIfNeeded: byte - UInt8(ascii: "0"))) else {
                return nil
            }
        }
        guard value != 0 else { return 0 }
        // The value is not zero, so this ends by overflow long before a huge exponent does.
        for _ in 0..<exponent {
            guard shift(adding: 0) else { return nil }
        }
        return value
    }

    package static func == (left: JSONNumber, right: JSONNumber) -> Bool {
        left.text.isSameUTF8(as: right.text)
    }

    /// The digits between the zeros at both ends, and the power of ten of the last of them.
    ///
    /// The digits come as a range of the text, which may hold the decimal point. Zero has none.
    private var significantPart: (digits: Range<Int>, exponent: Int) {
        var first: Int?
        var last = 0
        var fractionCount = 0
        var fractionCountAtLast = 0
        var zerosAfterLast = 0
        var isFraction = false
        var offset = 0
        var exponent = 0
        for byte in text.utf8 {
            if byte | 0x20 == UInt8(ascii: "e") {
                exponent = Self.writtenExponent(text.utf8.dropFirst(offset + 1))
                break
            }
            if byte == UInt8(ascii: ".") { isFraction = true }
            if byte.isDigit {
                if isFraction { fractionCount += 1 }
                if byte != UInt8(ascii: "0") {
                    first = first ?? offset
                    last = offset
                    fractionCountAtLast = fractionCount
                    zerosAfterLast = 0
                } else if !isFraction {
                    zerosAfterLast += 1
                }
            }
            offset += 1
        }
        guard let first else { return (0..<0, 0) }
        return (first..<last + 1, exponent + zerosAfterLast - fractionCountAtLast)
    }

    /// Reads the digits behind an `e`; past any exponent that matters it stops growing.
    private static func writtenExponent(_ digits: some Sequence<UInt8>) -> Int {
        var value = 0
        var isNegative = false
        for byte in digits {
            if byte == UInt8(ascii: "-") { isNegative = true }
            guard byte.isDigit else { continue }
            value = min(value * 10 + Int(byte - UInt8(ascii: "0")), Int.max / 100)
        }
        return isNegative ? -value : value
    }
}

extension JSONNumber {
    /// Why some bytes are no number.
    enum Flaw: Error {
        case leadingZero, noDigit

        var reason: String {
            switch self {
            case .leadingZero: "A number does not begin with a zero and another digit."
            case .noDigit: "A digit is missing in a number."
            }
        }
    }

    /// Finds where the number that begins at `start` ends.
    static func end(of bytes: [UInt8], from start: Int) throws(Flaw) -> Int {
        var position = start
        func has(_ scalar: Unicode.Scalar) -> Bool {
            position < bytes.count && bytes[position] == UInt8(ascii: scalar)
        }
        func passDigits() throws(Flaw) {
            let first = position
            while position < bytes.count && bytes[position].isDigit { position += 1 }
            guard position > first else { throw .noDigit }
        }

        if has("-") { position += 1 }
        if has("0") {
            position += 1
            guard position == bytes.count || !bytes[position].isDigit else { throw .leadingZero }
        } else {
            try passDigits()
        }
        if has(".") {
            position += 1
            try passDigits()
        }
        if has("e") || has("E") {
            position += 1
            if has("+") || has("-") { position += 1 }
            try passDigits()
        }
        return position
    }
}
