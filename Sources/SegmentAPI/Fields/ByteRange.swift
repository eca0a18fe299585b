/// What a request's `Range` field asks for (RFC 9110, section 14).
package enum ByteRange: Sendable, Equatable {
    /// Everything: the field is absent, malformed, or in a unit other than bytes.
    case none
    /// Several parts.
    case several
    /// One part.
    case one(Part)

    /// A part of something whose size need not be known.
    package enum Part: Sendable, Equatable {
        /// The bytes from an offset to the end, or up to a last one, which is included.
        case from(Int, through: Int?)
        /// So many bytes at the end.
        case suffix(Int)
    }

    /// Which bytes of something of a known size are asked for.
    package enum Window: Sendable, Equatable {
        /// All of them, and not as a part.
        case whole
        /// Some of them, at least one.
        case part(Range<Int>)
        /// Only bytes that do not exist.
        case unsatisfiable
    }

    // Offsets this far out are equally beyond everything, and adding one to them is safe.
    static let farthestOffset = Int.max - 1

    /// Parses the value of the field.
    ///
    /// What is malformed is as good as absent, which the standard allows.
    package init(_ field: String?) {
        self = field.flatMap(Self.parse) ?? .none
    }

    /// Parses the value of the field where it lies.
    init(_ field: Span<UInt8>?) {
        guard let field else {
            self = .none
            return
        }
        self = Self.parsePlain(field) ?? ByteRange(field.text)
    }

    /// Applies the range to something of a given size.
    ///
    /// Several parts are answered with the whole.
    package func resolve(byteCount: Int) -> Window {
        guard case .one(let part) = self else { return .whole }
        switch part {
        case .from(let first, let last):
            guard first < byteCount else { return .unsatisfiable }
            return .part(first..<min(last ?? .max, byteCount - 1) + 1)
        case .suffix(let count):
            guard count > 0 else { return .unsatisfiable }
            // Nothing at all has an end too, but no part of it could be named.
            guard byteCount > 0 else { return .whole }
            return .part(max(byteCount - count, 0)..<byteCount)
        }
    }

    /// Parses `bytes=A-B`, which is what nearly everybody sends; nil for anything else.
    private static func parsePlain(_ bytes: Span<UInt8>) -> ByteRange? {
        let start = prefix.count
        guard bytes.count > start else { return nil }
        for index in 0..<start where bytes[index] != prefix[index] { return nil }
        var numbers = (0, 0)
        var dash = 0
        for index in start..<bytes.count {
            let byte = bytes[index]
            guard byte.isDigit else {
                guard byte == UInt8(ascii: "-"), dash == 0, index > start else {
                    return nil
                }
                dash = index
                numbers = (numbers.1, 0)
                continue
            }
            guard index - dash <= 18 else { return nil }
            numbers.1 = numbers.1 * 10 + Int(byte - UInt8(ascii: "0"))
        }
        guard dash > 0, bytes.count > dash + 1, numbers.0 <= numbers.1 else { return nil }
        return .one(.from(numbers.0, through: numbers.1))
    }

    private static let prefix = Array("bytes=".utf8)

    private static func parse(_ field: String) -> ByteRange? {
        if let plain = parsePlain(field.utf8.span) { return plain }
        var scanner = FieldScanner(field)
        scanner.skipWhitespace()
        guard scanner.takeLowercasedToken() == "bytes", scanner.take("=") else { return nil }
        var part: Part?
        var count = 0
        repeat {
            scanner.skipWhitespace()
            // Empty elements of a list are passed over.
            if scanner.isAtEnd || scanner.next == UInt8(ascii: ",") { continue }
            guard let parsed = parsePart(&scanner) else { return nil }
            part = parsed
            count += 1
            scanner.skipWhitespace()
        } while scanner.take(",")
        guard scanner.isAtEnd, let part else { return nil }
        return count == 1 ? .one(part) : .several
    }

    private static func parsePart(_ scanner: inout FieldScanner) -> Part? {
        if scanner.take("-") {
            return scanner.takeDigits(limit: farthestOffset).map(Part.suffix)
        }
        guard let first = scanner.takeDigits(limit: farthestOffset), scanner.take("-") else {
            return nil
        }
        let last = scanner.takeDigits(limit: farthestOffset)
        if let last, last < first { return nil }
        return .from(first, through: last)
    }
}
