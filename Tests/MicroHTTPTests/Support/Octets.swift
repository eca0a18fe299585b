import Testing

/// What a client sends, which may be more than anybody wants to read in a log.
struct Octets: Sendable, ExpressibleByStringInterpolation, CustomTestStringConvertible {
    let text: String

    init(stringLiteral text: String) { self.text = text }

    var testDescription: String {
        let start = String(text.prefix(60)).debugDescription
        return text.count < 200 ? text.debugDescription : "\(start)… (\(text.utf8.count) octets)"
    }
}
