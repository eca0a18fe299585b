/// A strict reader of a query.
///
/// Ask for each parameter once, then call ``finish()``, which refuses parameters nobody asked for:
///
/// ```swift
/// var query = try QueryReader(request.query)
/// let wait = try query.int("wait_ms", in: 0...300_000) ?? 0
/// let force = try query.bool("force") ?? false
/// try query.finish()
/// ```
///
/// A parameter that is left out reads as nil.
package struct QueryReader: Sendable {
    private var parameters: [Query.Parameter]
    private var namesAskedFor: [String] = []

    /// A reader of no query at all.
    package init() {
        parameters = []
    }

    /// Parses what stands behind the question mark, if there is one.
    ///
    /// - Throws: ``QueryError`` as of ``Query``.
    package init(_ raw: some Collection<UInt8>) throws(QueryError) {
        parameters = try Query(raw).parameters
    }

    /// Parses what stands behind the question mark, if there is one.
    package init(_ raw: String) throws(QueryError) {
        try self.init(raw.utf8)
    }

    /// Parses what stands behind the question mark, where it lies.
    init(_ raw: Span<UInt8>) throws(QueryError) {
        parameters = try Query(raw).parameters
        namesAskedFor.reserveCapacity(8)
    }

    /// Refuses parameters that have not been asked for.
    ///
    /// - Throws: ``QueryError`` with code `unknownParameter` and the first of them.
    package consuming func finish() throws(QueryError) {
        guard let name = parameters.first(where: { !$0.isRead })?.name else { return }
        let known =
            namesAskedFor.isEmpty
            ? "none is known here"
            : "known here: \(namesAskedFor.joined(separator: ", "))"
        throw refusal(
            .unknownParameter,
            name,
            "Unknown parameter \(name.quotedForSentence); \(known)."
        )
    }

    /// A text, which may be empty.
    package mutating func string(_ name: String) -> String? {
        guard !parameters.isEmpty else { return nil }
        namesAskedFor.append(name)
        guard let index = parameters.firstIndex(where: { $0.name.isSameUTF8(as: name) }) else {
            return nil
        }
        parameters[index].isRead = true
        return parameters[index].value
    }

    /// A text that has to be there.
    package mutating func requiredString(_ name: String) throws(QueryError) -> String {
        try present(name, string(name))
    }

    /// A whole number in decimal digits.
    ///
    /// - Throws: ``QueryError`` with code `invalidValue` for anything but digits, and `outOfRange`
    ///   for a number below zero or outside the range.
    package mutating func int(
        _ name: String,
        in range: ClosedRange<Int> = 0...(.max)
    ) throws(QueryError) -> Int? {
        guard let text = string(name) else { return nil }
        let isNegative = text.utf8.first == UInt8(ascii: "-")
        let digits = text.utf8.dropFirst(isNegative ? 1 : 0)
        guard !digits.isEmpty, digits.allSatisfy(\.isDigit) else {
            throw refusal(.invalidValue, name, "\"\(name)\" has to be a whole number in digits.")
        }
        guard !isNegative, let value = Self.value(of: digits), range.contains(value) else {
            throw refusal(
                .outOfRange,
                name,
                "\"\(name)\" has to lie between \(range.lowerBound) and \(range.upperBound)."
            )
        }
        return value
    }

    /// The number of some digits, unless it is too large.
    private static func value(of digits: some Sequence<UInt8>) -> Int? {
        var value = 0
        for digit in digits {
            let (tens, isTooLarge) = value.multipliedReportingOverflow(by: 10)
            let (sum, hasCarry) = tens.addingReportingOverflow(Int(digit - UInt8(ascii: "0")))
            guard !isTooLarge, !hasCarry else { return nil }
            value = sum
        }
        return value
    }

    /// A whole number that has to be there.
    package mutating func requiredInt(
        _ name: String,
        in range: ClosedRange<Int> = 0...(.max)
    ) throws(QueryError) -> Int {
        try present(name, int(name, in: range))
    }

    /// One of `true` and `false`.
    ///
    /// - Throws: ``QueryError`` with code `invalidValue` for anything else.
    package mutating func bool(_ name: String) throws(QueryError) -> Bool? {
        guard let text = string(name) else { return nil }
        return try pick(text, named: name, from: [("true", true), ("false", false)])
    }

    /// A text that stands for one of several things.
    ///
    /// - Throws: ``QueryError`` with code `invalidValue` for a text that stands for none.
    package mutating func choice<Choice>(
        _ name: String,
        of choices: KeyValuePairs<String, Choice>
    ) throws(QueryError) -> Choice? {
        guard let text = string(name) else { return nil }
        return try pick(text, named: name, from: choices.map { ($0.key, $0.value) })
    }

    /// A text that is the raw value of one of an enumeration's cases.
    package mutating func choice<Choice>(
        _ name: String,
        as type: Choice.Type
    ) throws(QueryError) -> Choice?
    where Choice: RawRepresentable<String> & CaseIterable {
        guard let text = string(name) else { return nil }
        return try pick(text, named: name, from: type.allCases.map { ($0.rawValue, $0) })
    }

    /// The error for a parameter whose value breaks a rule that only the caller knows.
    package func invalid(_ name: String, _ reason: String) -> QueryError {
        refusal(.invalidValue, name, reason)
    }

    private func pick<Choice>(
        _ text: String,
        named name: String,
        from choices: [(key: String, value: Choice)]
    ) throws(QueryError) -> Choice {
        if let choice = choices.first(where: { $0.key.isSameUTF8(as: text) }) {
            return choice.value
        }
        let known = choices.map { "\"\($0.key)\"" }.joined(separator: ", ")
        throw refusal(.invalidValue, name, "\"\(name)\" has to be one of \(known).")
    }

    private func present<Value>(_ name: String, _ value: Value?) throws(QueryError) -> Value {
        guard let value else {
            throw refusal(.missingParameter, name, "The parameter \"\(name)\" is missing.")
        }
        return value
    }

    private func refusal(_ code: QueryError.Code, _ name: String, _ reason: String) -> QueryError {
        QueryError(code: code, parameter: name, reason: reason)
    }
}
