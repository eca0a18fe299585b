/// Members that have to be there.
///
/// Each throws what its counterpart for members that may be left out throws, and ``JSONError`` with
/// code `missingMember`.
extension ObjectReader {
    /// A string that has to be there.
    package mutating func requiredString(_ name: String) throws(JSONError) -> String {
        try present(name, string(name))
    }

    /// A boolean that has to be there.
    package mutating func requiredBool(_ name: String) throws(JSONError) -> Bool {
        try present(name, bool(name))
    }

    /// A whole number that has to be there.
    package mutating func requiredInt(
        _ name: String,
        in range: ClosedRange<Int> = .min ... .max
    ) throws(JSONError) -> Int {
        try present(name, int(name, in: range))
    }

    /// An integer of a given type that has to be there.
    package mutating func requiredWideInteger<Integer: FixedWidthInteger>(
        _ name: String,
        as type: Integer.Type
    ) throws(JSONError) -> Integer {
        try present(name, wideInteger(name, as: type))
    }

    /// A string that has to be there, and to stand for one of several things.
    package mutating func requiredChoice<Choice>(
        _ name: String,
        of choices: KeyValuePairs<String, Choice>
    ) throws(JSONError) -> Choice {
        try present(name, choice(name, of: choices))
    }

    /// A string that has to be there, and to be the raw value of an enumeration's case.
    package mutating func requiredChoice<Choice>(
        _ name: String,
        as type: Choice.Type
    ) throws(JSONError) -> Choice
    where Choice: RawRepresentable<String> & CaseIterable {
        try present(name, choice(name, as: type))
    }

    /// Bytes in base64 that have to be there.
    package mutating func requiredBase64(_ name: String) throws(JSONError) -> [UInt8] {
        try present(name, base64(name))
    }

    private func present<Value>(_ name: String, _ value: Value?) throws(JSONError) -> Value {
        guard let value else {
            throw JSONError(
                code: .missingMember,
                reason: "\"\(name)\" is missing.",
                pointer: pointer(to: name)
            )
        }
        return value
    }
}
