/// What media types a client accepts, as of its `Accept` field (RFC 9110, section 12.5.1).
package struct Accept: Sendable {
    /// A set of media types, and how welcome they are.
    private struct MediaRange {
        let types: MediaType
        /// From 0, not at all, to 1000.
        let quality: Int

        /// How closely the range describes a type; nil when it does not take it in.
        func specificity(for type: MediaType) -> Int? {
            if types.type == "*" { return types.subtype == "*" ? 0 : nil }
            guard types.type == type.type else { return nil }
            if types.subtype == "*" { return 1 }
            guard types.subtype == type.subtype else { return nil }
            // All our text is UTF-8, so asking for it excludes nothing.
            let agrees = types.parameters.allSatisfy {
                $0.isUTF8Charset || type.parameters.contains($0)
            }
            return agrees ? 2 + types.parameters.count : nil
        }
    }

    private var ranges: [MediaRange] = []

    /// Parses the value of the field.
    ///
    /// Members of the list that are malformed are passed over; a field without a good one is as
    /// good as absent.
    package init(_ field: String?) {
        guard let field else { return }
        var scanner = FieldScanner(field)
        repeat {
            scanner.skipWhitespace()
            if let types = MediaType(from: &scanner),
                scanner.isAtEnd || scanner.next == UInt8(ascii: ","),
                let range = Self.range(types)
            {
                ranges.append(range)
            } else {
                scanner.skipListElement()
            }
        } while scanner.take(",")
    }

    /// The most welcome of the types on offer, and the first of those equally welcome.
    ///
    /// - Parameter offers: The types, the ones we prefer first.
    /// - Returns: The type, or nil when the client accepts none of them.
    package func best(of offers: [MediaType]) -> MediaType? {
        if ranges.isEmpty { return offers.first }
        var best: MediaType?
        var bestQuality = 0
        for offer in offers {
            let quality = quality(of: offer)
            if quality > bestQuality { (best, bestQuality) = (offer, quality) }
        }
        return best
    }

    /// The quality of the range that describes a type most closely.
    private func quality(of type: MediaType) -> Int {
        var quality = 0
        var closest = -1
        for range in ranges {
            guard let specificity = range.specificity(for: type) else { continue }
            if specificity > closest {
                (quality, closest) = (range.quality, specificity)
            } else if specificity == closest {
                quality = max(quality, range.quality)
            }
        }
        return quality
    }

    /// Splits the quality from the parameters of a type; nil when it is malformed.
    private static func range(_ parsed: MediaType) -> MediaRange? {
        if parsed.type == "*" && parsed.subtype != "*" { return nil }
        guard let index = parsed.parameters.firstIndex(where: { $0.name == "q" }) else {
            return MediaRange(types: parsed, quality: 1000)
        }
        // What follows the quality has never had a meaning.
        guard let quality = quality(parsed.parameters[index].value) else { return nil }
        let types = MediaType(
            parsed.type,
            parsed.subtype,
            parameters: Array(parsed.parameters[..<index])
        )
        return MediaRange(types: types, quality: quality)
    }

    /// Reads `0` to `1` with up to three decimals, as thousandths.
    private static func quality(_ text: String) -> Int? {
        let bytes = Array(text.utf8)
        guard let first = bytes.first, bytes.count <= 5 else { return nil }
        guard first == UInt8(ascii: "0") || first == UInt8(ascii: "1") else { return nil }
        var quality = Int(first - UInt8(ascii: "0")) * 1000
        guard bytes.count > 1 else { return quality }
        guard bytes[1] == UInt8(ascii: ".") else { return nil }
        var place = 100
        for byte in bytes[2...] {
            guard byte.isDigit else { return nil }
            quality += Int(byte - UInt8(ascii: "0")) * place
            place /= 10
        }
        return quality <= 1000 ? quality : nil
    }
}
