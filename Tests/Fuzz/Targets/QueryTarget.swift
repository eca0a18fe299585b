import SegmentAPI

/// A query, as it was sent.
enum QueryTarget {
    @Sendable static func check(_ input: [UInt8]) {
        let expected = naive(input)
        do throws(QueryError) {
            let found = try Query(input).parameters
            guard let expected else { return require(false, "a bad query is refused") }
            require(found.count == expected.count, "as many parameters")
            for (found, expected) in zip(found, expected) {
                require(found.name.isSame(as: expected.name), "name \(found.name)")
                require(found.value.isSame(as: expected.value), "value \(found.value)")
            }
        } catch { require(expected == nil, "a good query is taken: \(error)") }
        if let expected { checkReader(input, expected) }
    }

    /// Splits before it decodes anything; nil for what is to be refused.
    private static func naive(_ bytes: [UInt8]) -> [(name: String, value: String)]? {
        guard !bytes.isEmpty else { return [] }
        var parameters: [(name: String, value: String)] = []
        for pair in bytes.split(separator: UInt8(ascii: "&"), omittingEmptySubsequences: false) {
            let halves = pair.split(
                separator: UInt8(ascii: "="), maxSplits: 1, omittingEmptySubsequences: false)
            guard let name = decoded(halves[0]),
                let value = decoded(halves.dropFirst().first ?? []),
                !name.isEmpty, !parameters.contains(where: { $0.name.isSame(as: name) })
            else { return nil }
            parameters.append((name, value))
        }
        return parameters
    }

    private static func decoded(_ bytes: ArraySlice<UInt8>) -> String? {
        PathTarget.naive(bytes.map { $0 == UInt8(ascii: "+") ? 0x20 : $0 })
    }

    private static func checkReader(
        _ input: [UInt8], _ parameters: [(name: String, value: String)]
    ) {
        guard var reader = try? QueryReader(input) else {
            return require(false, "the reader takes what the parser takes")
        }
        for (name, value) in parameters {
            let number = try? reader.int(name)
            let digits = value.utf8.allSatisfy { (48...57).contains($0) }
            require(number == (digits ? Int(value) : nil), "\(value) as a number")
            let choice = try? reader.bool(name)
            require(choice == (["true": true, "false": false])[value], "\(value) as a choice")
            require(reader.string(name)?.isSame(as: value) == true, "\(value) as a text")
        }
        require((try? reader.finish()) != nil, "every parameter has been asked for")
    }
}
