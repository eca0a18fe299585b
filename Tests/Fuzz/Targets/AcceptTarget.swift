import Foundation
import SegmentAPI

/// An `Accept` or `Content-Type` field.
enum AcceptTarget {
    private static let offers: [MediaType] = [.octetStream, .plainText, .json]

    @Sendable static func check(_ input: [UInt8]) {
        let field = String(decoding: input, as: UTF8.self)
        if let type = MediaType(field) {
            require(MediaType(text(of: type)) == type, "\(type) reads as itself")
        }
        let best = Accept(field).best(of: offers)
        require(best.map(offers.contains) ?? true, "one of those offered")
        require(Accept(nil).best(of: offers) == offers.first, "anything, when nothing is said")
        // A quoted string may hold commas, which splitting does not know.
        guard !input.contains(UInt8(ascii: "\"")) else { return }
        require(best == naive(field), "\(String(describing: best)) for \(field)")
    }

    private static func text(of type: MediaType) -> String {
        var text = type.type + "/" + type.subtype
        for parameter in type.parameters {
            let value = parameter.value.unicodeScalars
                .map { $0 == "\"" || $0 == "\\" ? "\\\($0)" : "\($0)" }.joined()
            text += ";" + parameter.name + "=\"" + value + "\""
        }
        return text
    }

    /// Splits the field at its commas, semicolons and signs of equality.
    private static func naive(_ field: String) -> MediaType? {
        let ranges = split(field, ",").compactMap(naiveRange)
        guard !ranges.isEmpty else { return offers.first }
        var best: (type: MediaType, quality: Int)?
        for offer in offers {
            let rated = ranges.compactMap { range in
                rank(range, for: offer).map { (rank: $0, quality: range.quality ?? 1000) }
            }
            let closest = rated.map(\.rank).max()
            let quality = rated.filter { $0.rank == closest }.map(\.quality).max() ?? 0
            if quality > best?.quality ?? 0 { best = (offer, quality) }
        }
        return best?.type
    }

    private struct Wish {
        let type, subtype: String
        var parameters: [(name: String, value: String)] = []
        var quality: Int?
    }

    private static func rank(_ range: Wish, for offer: MediaType) -> Int? {
        if range.type == "*" { return 0 }
        if range.type == offer.type, range.subtype == "*" { return 1 }
        // None of those offered has parameters, and each is in UTF-8.
        let isUTF8 = range.parameters.allSatisfy {
            $0.name == "charset" && $0.value.lowercased() == "utf-8"
        }
        guard range.type == offer.type, range.subtype == offer.subtype, isUTF8 else { return nil }
        return 2 + range.parameters.count
    }

    private static func naiveRange(_ element: String) -> Wish? {
        let parts = split(element, ";").map { $0.trimmingCharacters(in: blanks) }
        let names = split(parts[0], "/")
        guard names.count == 2, names.allSatisfy(isToken) else { return nil }
        var wish = Wish(type: names[0].lowercased(), subtype: names[1].lowercased())
        guard wish.type != "*" || wish.subtype == "*" else { return nil }
        for part in parts.dropFirst() where !part.isEmpty {
            let halves = split(part, "=")
            guard halves.count == 2, halves.allSatisfy(isToken) else { return nil }
            let name = halves[0].lowercased()
            if wish.quality != nil { continue }
            if name == "q" {
                guard let value = thousandths(halves[1]) else { return nil }
                wish.quality = value
            } else {
                wish.parameters.append((name, halves[1]))
            }
        }
        return wish
    }

    private static func thousandths(_ text: String) -> Int? {
        let digits = split(text, ".")
        guard digits.count <= 2, digits[0] == "0" || digits[0] == "1" else { return nil }
        let fraction = digits.count == 2 ? digits[1] : ""
        guard fraction.utf8.count <= 3, fraction.utf8.allSatisfy({ (48...57).contains($0) }) else {
            return nil
        }
        let value = Int(digits[0] + fraction + String(repeating: "0", count: 3 - fraction.count))
        return value.flatMap { $0 <= 1000 ? $0 : nil }
    }

    private static let blanks = CharacterSet(charactersIn: " \t")

    private static func split(_ text: String, _ separator: String) -> [String] {
        // Character by character, for those that combine would stick to a comma.
        text.unicodeScalars
            .split(omittingEmptySubsequences: false) { separator.unicodeScalars.contains($0) }
            .map(String.init)
    }

    private static func isToken(_ text: String) -> Bool {
        !text.isEmpty
            && text.unicodeScalars.allSatisfy {
                switch $0 {
                case "0"..."9", "A"..."Z", "a"..."z": true
                default: "!#$%&'*+-.^_`|~".unicodeScalars.contains($0)
                }
            }
    }
}
