/// Why a query, or a parameter in it, was refused.
package struct QueryError: Error, Sendable, Equatable, CustomStringConvertible {
    /// What is wrong, to decide on.
    package enum Code: Sendable, Equatable {
        /// The query cannot be taken apart or decoded.
        case malformed
        /// Two parameters have the same name.
        case duplicateParameter
        /// A parameter nobody asked for.
        case unknownParameter
        /// A parameter that has to be there is not.
        case missingParameter
        /// A whole number outside the range expected.
        case outOfRange
        /// Any other value that is not allowed.
        case invalidValue
    }

    package let code: Code
    /// The name of the parameter; empty where there is none.
    package let parameter: String
    /// A sentence for people.
    package let reason: String

    package init(code: Code, parameter: String, reason: String) {
        self.code = code
        self.parameter = parameter
        self.reason = reason
    }

    package var description: String { reason }
}

/// The parameters of a query such as `offset=0&length=16`, in the order they were written.
package struct Query: Sendable {
    /// A name and its value, both decoded.
    package struct Parameter: Sendable {
        package let name: String
        package let value: String
        /// Whether a reader of the query has asked for it.
        var isRead = false
    }

    package let parameters: [Parameter]

    /// Parses what stands behind the question mark, if there is one.
    ///
    /// An empty query has no parameters. A parameter without `=` has an empty value.
    ///
    /// - Throws: ``QueryError`` with code `malformed` for a parameter without a name (`a=1&&b=2`
    ///   has one), for bad percent-encoding and for what is not UTF-8; with code
    ///   `duplicateParameter` when a name comes twice.
    package init(_ raw: some Collection<UInt8>) throws(QueryError) {
        try self.init(Array(raw).span)
    }

    /// Parses what stands behind the question mark, where it lies.
    package init(_ raw: Span<UInt8>) throws(QueryError) {
        var parameters: [Parameter] = []
        guard !raw.isEmpty else {
            self.parameters = parameters
            return
        }
        var names = NameSet()
        var start = 0
        for end in 0...raw.count where end == raw.count || raw[end] == UInt8(ascii: "&") {
            let pair = raw.extracting(start..<end)
            start = end + 1
            var equals = 0
            while equals < pair.count, pair[equals] != UInt8(ascii: "=") { equals += 1 }
            let rawName = pair.extracting(0..<equals)
            let name = try Self.decode(rawName, of: rawName)
            guard !name.isEmpty else {
                throw QueryError(
                    code: .malformed,
                    parameter: "",
                    reason: "The query has a parameter without a name."
                )
            }
            let rawValue = pair.extracting(min(equals + 1, pair.count)..<pair.count)
            let value = try Self.decode(rawValue, of: rawName)
            guard names.insert(name, beside: parameters) else {
                throw QueryError(
                    code: .duplicateParameter,
                    parameter: name,
                    reason: "The parameter \(name.quotedForSentence) comes twice."
                )
            }
            parameters.append(Parameter(name: name, value: value))
        }
        self.parameters = parameters
    }

    /// The names of the parameters that were read, once they are many.
    private struct NameSet {
        /// So many are just looked through.
        private static let few = 8

        // Bytes, for strings of different bytes can be equal.
        private var names: Set<[UInt8]> = []

        /// Takes a name in.
        ///
        /// - Returns: Whether none of the parameters has it.
        mutating func insert(_ name: String, beside parameters: [Parameter]) -> Bool {
            guard parameters.count >= Self.few else {
                for parameter in parameters where parameter.name.isSameUTF8(as: name) {
                    return false
                }
                return true
            }
            if names.isEmpty { names = Set(parameters.map { Array($0.name.utf8) }) }
            return names.insert(Array(name.utf8)).inserted
        }
    }

    private static func decode(_ raw: Span<UInt8>, of name: Span<UInt8>) throws(QueryError)
        -> String
    {
        if isPlain(raw), let text = raw.validText { return text }
        do throws(PercentEncoding.Flaw) {
            return try PercentEncoding.decodeQueryPart([UInt8](copying: raw))
        } catch {
            // The name as written, for it may be the name that cannot be decoded.
            throw QueryError(
                code: .malformed, parameter: name.text, reason: error.description)
        }
    }

    private static func isPlain(_ raw: Span<UInt8>) -> Bool {
        for index in raw.indices
        where raw[index] == UInt8(ascii: "%") || raw[index] == UInt8(ascii: "+") {
            return false
        }
        return true
    }
}
