/// A `Content-Range` field: which bytes of how many a body holds (RFC 9110, section 14.4).
package struct ContentRange: Sendable, Equatable {
    /// The bytes, at least one.
    ///
    /// Offsets too large for an integer come out as the largest one there is room for.
    package let bytes: Range<Int>
    /// How many bytes there are in all, where the field says so.
    package let completeByteCount: Int?

    /// Why a field was refused.
    package struct Flaw: Error, Sendable, Equatable, CustomStringConvertible {
        /// A sentence for people.
        package let description: String
    }

    /// Parses the field of a request: `bytes A-B/*` or `bytes A-B/SIZE`, and nothing else.
    package init(_ field: String) throws(Flaw) {
        let limit = ByteRange.farthestOffset
        var scanner = FieldScanner(field)
        scanner.skipWhitespace()
        guard scanner.takeLowercasedToken() == "bytes", scanner.take(" "),
            let first = scanner.takeDigits(limit: limit), scanner.take("-"),
            let last = scanner.takeDigits(limit: limit), scanner.take("/")
        else {
            throw Flaw(description: "Content-Range has to be like \"bytes 0-15/*\".")
        }
        var complete: Int?
        if !scanner.take("*") {
            complete = scanner.takeDigits(limit: .max)
            guard complete != nil else {
                throw Flaw(description: "Content-Range ends with a size or an asterisk.")
            }
        }
        scanner.skipWhitespace()
        guard scanner.isAtEnd else {
            throw Flaw(description: "Content-Range has to be like \"bytes 0-15/*\".")
        }
        guard first <= last else {
            throw Flaw(description: "Content-Range ends before it begins.")
        }
        if let complete, last >= complete {
            throw Flaw(description: "Content-Range ends behind the size it states.")
        }
        bytes = first..<last + 1
        completeByteCount = complete
    }

    /// How many bytes the field of an answer may have: three numbers of at most nineteen digits, and
    /// eight bytes around them.
    static let byteLimit = 65

    /// Appends the field of an answer that holds a part; the part has at least one byte.
    package static func append(
        _ part: Range<Int>, of byteCount: Int, to output: inout OutputSpan<UInt8>
    ) {
        let last = part.isEmpty ? part.lowerBound : part.upperBound - 1
        output.append(word: "bytes ")
        output.append(decimal: UInt64(part.lowerBound))
        output.append(UInt8(ascii: "-"))
        output.append(decimal: UInt64(last))
        output.append(UInt8(ascii: "/"))
        output.append(decimal: UInt64(byteCount))
    }

    /// The field of an answer that holds a part; the part has at least one byte.
    package static func field(_ part: Range<Int>, of byteCount: Int) -> String {
        var field: [UInt8] = []
        field.append(addingCapacity: byteLimit) { append(part, of: byteCount, to: &$0) }
        return String(decoding: field, as: UTF8.self)
    }

    /// The field of an answer to a range that lies outside.
    package static func unsatisfiedField(of byteCount: Int) -> String {
        "bytes */\(byteCount)"
    }
}
