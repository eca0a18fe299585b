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
        var parameters: [Parameter] = []
        guard !raw.isEmpty else {
            self.parameters = parameters
            return
        }
        // Bytes, for strings of different bytes can be equal. The first few are just looked through.
        var names: Set<[UInt8]> = []
        func isNew(_ name: String) -> Bool {
            guard parameters.count >= Self.fewParameters else {
                return !parameters.contains { $0.name.isSameUTF8(as: name) }
            }
            if names.isEmpty { names = Set(parameters.map { Array($0.name.utf8) }) }
            return names.insert(Array(name.utf8)).inserted
        }
        for pair in raw.split(separator: UInt8(ascii: "&"), omittingEmptySubsequences: false) {
            let equals = pair.firstIndex(of: UInt8(ascii: "=")) ?? pair.endIndex
            let name = try Self.decode(pair[..<equals], of: pair[..<equals])
            guard !name.isEmpty else {
                throw QueryError(
                    code: .malformed,
                    parameter: "",
                    reason: "The query has a parameter without a name."
                )
            }
            let value = try Self.decode(pair[equals...].dropFirst(), of: pair[..<equals])
            guard isNew(name) else {
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

    private static let fewParameters = 8

    private static func decode(
        _ raw: some Collection<UInt8>,
        of name: some Collection<UInt8>
    ) throws(QueryError) -> String {
        do throws(PercentEncoding.Flaw) {
            return try PercentEncoding.decodeQueryPart(raw)
        } catch {
            // The name as written, for it may be the name that cannot be decoded.
            throw QueryError(
                code: .malformed,
                parameter: String(decoding: name, as: UTF8.self),
                reason: error.description
            )
        }
    }
}
