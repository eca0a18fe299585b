/// A strict reader of one JSON object, such as the body of a request.
///
/// Ask for each member once, then call ``finish()``, which refuses members nobody asked for:
///
/// ```swift
/// var reader = try ObjectReader(parsing: body)
/// let size = try reader.requiredInt("size", in: 1...Int.max)
/// let existing = try reader.choice("if_exists", of: ["fail": false, "attach": true]) ?? false
/// try reader.finish()
/// ```
///
/// A member that is left out reads as nil. `null` is a value like any other: it is refused where
/// something else is expected. Every error carries the JSON pointer of the member.
package struct ObjectReader: Sendable {
    private let members: [JSONObject.Member]
    private let pointer: String
    private var isRead: [Bool]
    private var namesAskedFor: [String] = []

    /// Parses a text that has an object at the top.
    ///
    /// - Throws: ``JSONError`` as of ``JSONParser``, and with code `wrongType` when there is
    ///   something else than an object.
    package init(
        parsing bytes: [UInt8],
        depthLimit: Int = JSONParser.defaultDepthLimit
    ) throws(JSONError) {
        try self.init(JSONParser.parse(bytes, depthLimit: depthLimit))
    }

    /// Reads a value that has to be an object.
    ///
    /// - Parameters:
    ///   - value: The object.
    ///   - pointer: Where it lies in the text, for errors.
    /// - Throws: ``JSONError`` with code `wrongType` when it is something else.
    package init(_ value: JSONValue, at pointer: String = "") throws(JSONError) {
        guard case .object(let object) = value else {
            throw JSONError(
                code: .wrongType,
                reason: "Expected an object, not \(value.kind).",
                pointer: pointer
            )
        }
        members = object.members
        isRead = Array(repeating: false, count: members.count)
        self.pointer = pointer
    }

    /// Refuses members that have not been asked for.
    ///
    /// - Throws: ``JSONError`` with code `unknownMember` and the first of them.
    package consuming func finish() throws(JSONError) {
        guard let index = isRead.firstIndex(of: false) else { return }
        let name = members[index].name
        let known =
            namesAskedFor.isEmpty
            ? "none is known here"
            : "known here: \(namesAskedFor.joined(separator: ", "))"
        throw refusal(.unknownMember, name, "Unknown member \(name.quotedForSentence); \(known).")
    }

    // MARK: Members that may be left out

    /// The value of a member, whatever it is.
    package mutating func value(_ name: String) -> JSONValue? {
        namesAskedFor.append(name)
        guard let index = members.firstIndex(where: { $0.name.isSameUTF8(as: name) }) else {
            return nil
        }
        isRead[index] = true
        return members[index].value
    }

    /// A string.
    package mutating func string(_ name: String) throws(JSONError) -> String? {
        guard let value = value(name) else { return nil }
        guard case .string(let string) = value else {
            throw wrongType(name, expected: "a string", value)
        }
        return string
    }

    /// A boolean.
    package mutating func bool(_ name: String) throws(JSONError) -> Bool? {
        guard let value = value(name) else { return nil }
        guard case .bool(let bool) = value else {
            throw wrongType(name, expected: "true or false", value)
        }
        return bool
    }

    /// A whole number, however it is written: `4096`, `4096.0` and `4.096e3` are the same.
    ///
    /// - Throws: ``JSONError`` with code `wrongType`, `notWhole` or `outOfRange`.
    package mutating func int(
        _ name: String,
        in range: ClosedRange<Int> = .min ... .max
    ) throws(JSONError) -> Int? {
        guard let value = value(name) else { return nil }
        guard case .number(let number) = value else {
            throw wrongType(name, expected: "a whole number", value)
        }
        return try integer(number, named: name, in: range)
    }

    /// An integer of a given type, as a number or as a string of decimal digits.
    ///
    /// Strings carry what is too large for clients that know only doubles.
    ///
    /// - Throws: ``JSONError`` with code `wrongType`, `notWhole`, `outOfRange`, or `invalidValue`
    ///   for a string of anything but digits.
    package mutating func wideInteger<Integer: FixedWidthInteger>(
        _ name: String,
        as type: Integer.Type
    ) throws(JSONError) -> Integer? {
        guard let value = value(name) else { return nil }
        let range = Integer.min...Integer.max
        switch value {
        case .number(let number):
            return try integer(number, named: name, in: range)
        case .string(let text):
            let digits =
                text.utf8.first == UInt8(ascii: "-") ? text.utf8.dropFirst() : text.utf8[...]
            guard !digits.isEmpty, digits.allSatisfy(\.isDigit) else {
                throw refusal(.invalidValue, name, "\"\(name)\" is no whole number in digits.")
            }
            guard let integer = Integer(text) else { throw outOfRange(name, range) }
            return integer
        default:
            throw wrongType(name, expected: "a whole number, or a string of one", value)
        }
    }

    /// A string that stands for one of several things.
    ///
    /// - Throws: ``JSONError`` with code `wrongType`, or `invalidValue` for a string that stands
    ///   for none.
    package mutating func choice<Choice>(
        _ name: String,
        of choices: KeyValuePairs<String, Choice>
    ) throws(JSONError) -> Choice? {
        guard let text = try string(name) else { return nil }
        return try pick(text, named: name, from: choices.map { ($0.key, $0.value) })
    }

    /// A string that is the raw value of one of an enumeration's cases.
    package mutating func choice<Choice>(
        _ name: String,
        as type: Choice.Type
    ) throws(JSONError) -> Choice?
    where Choice: RawRepresentable<String> & CaseIterable {
        guard let text = try string(name) else { return nil }
        return try pick(text, named: name, from: type.allCases.map { ($0.rawValue, $0) })
    }

    /// Bytes, as a string in base64.
    ///
    /// - Throws: ``JSONError`` with code `wrongType`, or `invalidValue` for a string that is not
    ///   base64.
    package mutating func base64(_ name: String) throws(JSONError) -> [UInt8]? {
        guard let text = try string(name) else { return nil }
        guard let bytes = Base64.decode(text) else {
            throw refusal(.invalidValue, name, "\"\(name)\" is not base64 with its padding.")
        }
        return bytes
    }

    /// An object, with a reader of its own to be finished.
    package mutating func object(_ name: String) throws(JSONError) -> ObjectReader? {
        guard let value = value(name) else { return nil }
        return try ObjectReader(value, at: pointer(to: name))
    }

    /// An array of objects, each with a reader of its own to be finished.
    package mutating func objects(_ name: String) throws(JSONError) -> [ObjectReader]? {
        guard let value = value(name) else { return nil }
        guard case .array(let elements) = value else {
            throw wrongType(name, expected: "an array of objects", value)
        }
        let parent = self.pointer(to: name)
        var readers: [ObjectReader] = []
        for (index, element) in elements.enumerated() {
            readers.append(try ObjectReader(element, at: "\(parent)/\(index)"))
        }
        return readers
    }

    // MARK: Errors

    /// The error for a member whose value breaks a rule that only the caller knows.
    package func invalid(_ name: String, _ reason: String) -> JSONError {
        refusal(.invalidValue, name, reason)
    }

    private func pick<Choice>(
        _ text: String,
        named name: String,
        from choices: [(key: String, value: Choice)]
    ) throws(JSONError) -> Choice {
        if let choice = choices.first(where: { $0.key.isSameUTF8(as: text) }) {
            return choice.value
        }
        let known = choices.map { "\"\($0.key)\"" }.joined(separator: ", ")
        throw refusal(.invalidValue, name, "\"\(name)\" has to be one of \(known).")
    }

    private func integer<Integer: FixedWidthInteger>(
        _ number: JSONNumber,
        named name: String,
        in range: ClosedRange<Integer>
    ) throws(JSONError) -> Integer {
        guard number.isWhole else {
            throw refusal(.notWhole, name, "\"\(name)\" has to be a whole number.")
        }
        guard let value = number.exactly(Integer.self), range.contains(value) else {
            throw outOfRange(name, range)
        }
        return value
    }

    private func outOfRange(_ name: String, _ range: ClosedRange<some Any>) -> JSONError {
        refusal(
            .outOfRange,
            name,
            "\"\(name)\" has to lie between \(range.lowerBound) and \(range.upperBound)."
        )
    }

    private func wrongType(_ name: String, expected: String, _ value: JSONValue) -> JSONError {
        refusal(.wrongType, name, "\"\(name)\" has to be \(expected), not \(value.kind).")
    }

    private func refusal(_ code: JSONError.Code, _ name: String, _ reason: String) -> JSONError {
        JSONError(code: code, reason: reason, pointer: pointer(to: name))
    }

    /// The JSON pointer of a member, whether it is there or not.
    package func pointer(to name: String) -> String {
        JSONPath.pointer(to: name, in: pointer)
    }
}
