/// The percent-encoding of paths and queries (RFC 3986, section 2.1).
package enum PercentEncoding {
    /// Why some bytes could not be decoded.
    package enum Flaw: Error, Sendable, Equatable, CustomStringConvertible {
        /// A percent sign without two hexadecimal digits behind it, so many bytes in.
        case incompleteEscape(offset: Int)
        /// What the escapes stand for is not UTF-8.
        case notUTF8

        package var description: String {
            switch self {
            case .incompleteEscape: "A percent sign is not followed by two hexadecimal digits."
            case .notUTF8: "The percent-encoded bytes are not UTF-8."
            }
        }
    }

    /// Decodes one component of a path, where `+` is a plus sign.
    ///
    /// The text may hold any character, a NUL or a `/` too; what is fit for a name is for the
    /// caller to say.
    package static func decodePathComponent(
        _ raw: some Collection<UInt8>
    ) throws(Flaw) -> String {
        try decode(raw, plusIsSpace: false)
    }

    /// Decodes a name or a value of a query, where `+` is a space.
    ///
    /// The text may hold any character, a NUL too.
    package static func decodeQueryPart(_ raw: some Collection<UInt8>) throws(Flaw) -> String {
        try decode(raw, plusIsSpace: true)
    }

    /// Encodes a text as one component of a path.
    ///
    /// Letters, digits and `-._~` stay. The components `.` and `..`, which mean places, are
    /// encoded too.
    package static func encodePathComponent(_ text: String) -> String {
        if text.isSameUTF8(as: ".") { return "%2E" }
        if text.isSameUTF8(as: "..") { return "%2E%2E" }
        var encoded: [UInt8] = []
        encoded.reserveCapacity(text.utf8.count)
        for byte in text.utf8 {
            switch Unicode.Scalar(byte) {
            case "A"..."Z", "a"..."z", "0"..."9", "-", ".", "_", "~":
                encoded.append(byte)
            default:
                encoded.append(UInt8(ascii: "%"))
                encoded.append((byte >> 4).uppercaseHexDigit)
                encoded.append(byte.uppercaseHexDigit)
            }
        }
        return String(decoding: encoded, as: UTF8.self)
    }

    private static func decode(
        _ raw: some Collection<UInt8>,
        plusIsSpace: Bool
    ) throws(Flaw) -> String {
        var decoded: [UInt8] = []
        decoded.reserveCapacity(raw.count)
        var bytes = raw.makeIterator()
        var offset = 0
        while let byte = bytes.next() {
            switch byte {
            case UInt8(ascii: "%"):
                guard let high = bytes.next()?.hexValue, let low = bytes.next()?.hexValue else {
                    throw .incompleteEscape(offset: offset)
                }
                decoded.append(high << 4 | low)
                offset += 3
            case UInt8(ascii: "+") where plusIsSpace:
                decoded.append(UInt8(ascii: " "))
                offset += 1
            default:
                decoded.append(byte)
                offset += 1
            }
        }
        guard let text = String(validating: decoded, as: UTF8.self) else { throw .notUTF8 }
        return text
    }
}

extension UInt8 {
    /// The digit that stands for the low four bits: `0` to `9`, then `A` to `F`.
    fileprivate var uppercaseHexDigit: UInt8 {
        let digit = hexDigit
        return digit.isDigit ? digit : digit & ~0x20
    }
}
