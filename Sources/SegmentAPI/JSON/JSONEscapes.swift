/// The escapes inside a JSON string.
enum JSONEscapes {
    /// Why an escape was refused, and where it stands.
    struct Flaw: Error {
        let reason: String
        let offset: Int
    }

    /// Resolves the escapes of a string's inside, which is known to be UTF-8.
    static func resolve(in bytes: [UInt8], _ range: Range<Int>) throws(Flaw) -> String {
        var text: [UInt8] = []
        text.reserveCapacity(range.count)
        var position = range.lowerBound
        while position < range.upperBound {
            let byte = bytes[position]
            guard byte == UInt8(ascii: "\\") else {
                text.append(byte)
                position += 1
                continue
            }
            let escape = try scalar(in: bytes, position..<range.upperBound)
            text.append(contentsOf: escape.scalar.utf8)
            position = escape.end
        }
        return String(decoding: text, as: UTF8.self)
    }

    /// Reads the escape at the front of a range, and says where it ends.
    private static func scalar(
        in bytes: [UInt8],
        _ range: Range<Int>
    ) throws(Flaw) -> (scalar: Unicode.Scalar, end: Int) {
        let start = range.lowerBound
        let end = start + 2
        guard end <= range.upperBound else {
            throw Flaw(reason: "An escape is cut short.", offset: start)
        }
        switch Unicode.Scalar(bytes[start + 1]) {
        case "\"": return ("\"", end)
        case "\\": return ("\\", end)
        case "/": return ("/", end)
        case "b": return ("\u{8}", end)
        case "f": return ("\u{C}", end)
        case "n": return ("\n", end)
        case "r": return ("\r", end)
        case "t": return ("\t", end)
        case "u": break
        default: throw Flaw(reason: "A string has an unknown escape.", offset: start)
        }

        guard let unit = codeUnit(in: bytes, start..<range.upperBound) else {
            throw Flaw(reason: "Four hexadecimal digits follow \\u.", offset: start)
        }
        if let scalar = Unicode.Scalar(unit) { return (scalar, start + 6) }
        guard UTF16.isLeadSurrogate(unit),
            let trail = codeUnit(in: bytes, start + 6..<range.upperBound),
            UTF16.isTrailSurrogate(trail)
        else {
            throw Flaw(reason: "A string has half of a surrogate pair.", offset: start)
        }
        let value = 0x10000 + (UInt32(unit & 0x3FF) << 10 | UInt32(trail & 0x3FF))
        guard let scalar = Unicode.Scalar(value) else {
            throw Flaw(reason: "A string has half of a surrogate pair.", offset: start)
        }
        return (scalar, start + 12)
    }

    /// The number behind a `\u` at the front of a range; nil when there is no such escape.
    private static func codeUnit(in bytes: [UInt8], _ range: Range<Int>) -> UInt16? {
        let start = range.lowerBound
        guard range.count >= 6, bytes[start] == UInt8(ascii: "\\"),
            bytes[start + 1] == UInt8(ascii: "u")
        else {
            return nil
        }
        var unit: UInt16 = 0
        for byte in bytes[start + 2..<start + 6] {
            guard let digit = byte.hexValue else { return nil }
            unit = unit << 4 | UInt16(digit)
        }
        return unit
    }
}
