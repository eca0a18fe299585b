/// A strict parser of JSON texts (RFC 8259).
///
/// It takes time in proportion to the text, whatever the text is. Beyond the grammar it refuses
/// text that is not UTF-8, a byte order mark, escapes of lone surrogates, two members of the same
/// name in one object, and nesting past a limit.
package struct JSONParser {
    /// How many arrays and objects may lie inside each other, unless said otherwise.
    package static let defaultDepthLimit = 16

    /// What no caller can raise the limit above, for parsing descends on the stack.
    private static let highestDepthLimit = 512

    private let bytes: [UInt8]
    private let depthLimit: Int
    private var position = 0
    private var path: [JSONPath.Step] = []

    /// Parses a whole text.
    ///
    /// - Parameters:
    ///   - bytes: The text in UTF-8.
    ///   - depthLimit: How many arrays and objects may lie inside each other. At most 512.
    /// - Returns: The value.
    /// - Throws: ``JSONError`` with code `malformed`, `tooDeep` or `duplicateMember`, the place of
    ///   the flaw and how far into the text it lies.
    package static func parse(
        _ bytes: [UInt8],
        depthLimit: Int = defaultDepthLimit
    ) throws(JSONError) -> JSONValue {
        var parser = JSONParser(bytes: bytes, depthLimit: min(depthLimit, highestDepthLimit))
        return try parser.parseText()
    }

    /// Parses a whole text that somebody else keeps.
    package static func parse(
        _ bytes: Span<UInt8>,
        depthLimit: Int = defaultDepthLimit
    ) throws(JSONError) -> JSONValue {
        var copy: [UInt8] = []
        copy.append(copying: bytes)
        return try parse(copy, depthLimit: depthLimit)
    }

    private init(bytes: [UInt8], depthLimit: Int) {
        self.bytes = bytes
        self.depthLimit = depthLimit
    }

    private mutating func parseText() throws(JSONError) -> JSONValue {
        if bytes.starts(with: [0xEF, 0xBB, 0xBF]) {
            throw error("A JSON text does not begin with a byte order mark.")
        }
        skipWhitespace()
        let value = try parseValue()
        skipWhitespace()
        if position < bytes.count { throw error("Something follows the JSON value.") }
        return value
    }

    private mutating func parseValue() throws(JSONError) -> JSONValue {
        guard let byte = next else { throw error("The JSON text ends too early.") }
        switch Unicode.Scalar(byte) {
        case "{": return .object(try parseObject())
        case "[": return .array(try parseArray())
        case "\"": return .string(try parseString())
        case "t": return try parseLiteral("true", .bool(true))
        case "f": return try parseLiteral("false", .bool(false))
        case "n": return try parseLiteral("null", .null)
        case "-", "0"..."9": return .number(try parseNumber())
        default: throw error("A JSON value does not begin like this.")
        }
    }

    private mutating func parseObject() throws(JSONError) -> JSONObject {
        try descend()
        if take("}") { return JSONObject() }
        var members: [JSONObject.Member] = []
        var names = NameSet()
        repeat {
            skipWhitespace()
            let start = position
            guard next == UInt8(ascii: "\"") else {
                throw error("The name of a member is a string.")
            }
            let name = try parseString()
            path.append(.member(name))
            guard names.insert(name, besides: members) else {
                throw JSONError(
                    code: .duplicateMember,
                    reason: "An object has two members named \(name.quotedForSentence).",
                    pointer: JSONPath.pointer(path),
                    offset: start
                )
            }
            skipWhitespace()
            guard take(":") else { throw error("A colon is missing after the name of a member.") }
            skipWhitespace()
            members.append(JSONObject.Member(name: name, value: try parseValue()))
            path.removeLast()
            skipWhitespace()
        } while take(",")
        guard take("}") else { throw error("An object goes on with a comma or ends with a brace.") }
        return JSONObject(members)
    }

    private mutating func parseArray() throws(JSONError) -> [JSONValue] {
        try descend()
        if take("]") { return [] }
        var elements: [JSONValue] = []
        repeat {
            skipWhitespace()
            path.append(.element(elements.count))
            elements.append(try parseValue())
            path.removeLast()
            skipWhitespace()
        } while take(",")
        guard take("]") else {
            throw error("An array goes on with a comma or ends with a bracket.")
        }
        return elements
    }

    private mutating func parseLiteral(
        _ literal: StaticString,
        _ value: JSONValue
    ) throws(JSONError) -> JSONValue {
        for byte in literal.description.utf8 {
            guard next == byte else { throw error("A JSON value does not begin like this.") }
            position += 1
        }
        return value
    }

    private mutating func parseNumber() throws(JSONError) -> JSONNumber {
        let start = position
        do throws(JSONNumber.Flaw) {
            position = try JSONNumber.end(of: bytes, from: start)
        } catch {
            throw self.error(error.reason)
        }
        return JSONNumber(wellFormed: String(decoding: bytes[start..<position], as: UTF8.self))
    }

    private mutating func parseString() throws(JSONError) -> String {
        position += 1
        let start = position
        var hasEscapes = false
        while let byte = next, byte != UInt8(ascii: "\"") {
            if byte < 0x20 { throw error("A string holds a control character unescaped.") }
            position += 1
            if byte == UInt8(ascii: "\\") {
                hasEscapes = true
                // What is escaped may be a quote. Its meaning is looked at further down.
                position = min(position + 1, bytes.count)
            }
        }
        guard position < bytes.count else { throw error("A string does not end.") }
        let end = position
        position += 1

        let text: String
        do throws(UTF8.ValidationError) {
            text = String(copying: try UTF8Span(validating: bytes.span.extracting(start..<end)))
        } catch {
            position = start + error.byteOffsets.lowerBound
            throw self.error("A string is not UTF-8.")
        }
        guard hasEscapes else { return text }
        do throws(JSONEscapes.Flaw) {
            return try JSONEscapes.resolve(in: bytes, start..<end)
        } catch {
            position = error.offset
            throw self.error(error.reason)
        }
    }

    /// Passes over an opening bracket or brace, and the space behind it.
    private mutating func descend() throws(JSONError) {
        guard path.count < depthLimit else {
            throw error("Arrays and objects lie more than \(depthLimit) deep.", code: .tooDeep)
        }
        position += 1
        skipWhitespace()
    }

    private var next: UInt8? { position < bytes.count ? bytes[position] : nil }

    private mutating func take(_ scalar: Unicode.Scalar) -> Bool {
        guard next == UInt8(ascii: scalar) else { return false }
        position += 1
        return true
    }

    private mutating func skipWhitespace() {
        while let byte = next, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 {
            position += 1
        }
    }

    private func error(_ reason: String, code: JSONError.Code = .malformed) -> JSONError {
        JSONError(code: code, reason: reason, pointer: JSONPath.pointer(path), offset: position)
    }
}

/// The names an object has so far, so that finding one twice takes no long search.
private struct NameSet {
    // Bytes, for strings of different bytes can be equal. Unused while the members are few.
    private var names: Set<[UInt8]> = []
    private static let fewMembers = 12

    /// Notes a name; false when one of the members has it already.
    mutating func insert(_ name: String, besides members: [JSONObject.Member]) -> Bool {
        guard members.count >= Self.fewMembers else {
            return !members.contains { $0.name.isSameUTF8(as: name) }
        }
        if names.isEmpty { names = Set(members.map { Array($0.name.utf8) }) }
        return names.insert(Array(name.utf8)).inserted
    }
}
