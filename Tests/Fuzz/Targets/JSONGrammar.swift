/// The grammar of RFC 8259, read off the page: what is JSON, and nothing about what it means.
///
/// Unlike the parser it works on characters, and without a limit to nesting.
struct JSONGrammar {
    private var rest: Substring.UnicodeScalarView

    static func accepts(_ bytes: [UInt8]) -> Bool {
        guard let text = String(validating: bytes, as: UTF8.self) else { return false }
        var grammar = JSONGrammar(rest: text.unicodeScalars[...])
        return grammar.element() && grammar.rest.isEmpty
    }

    // element = ws value ws
    private mutating func element() -> Bool {
        skip(" \t\n\r")
        guard value() else { return false }
        skip(" \t\n\r")
        return true
    }

    private mutating func value() -> Bool {
        if take("{") { return list(until: "}") { $0.member() } }
        if take("[") { return list(until: "]") { $0.element() } }
        if take("\"") { return string() }
        for word in ["true", "false", "null"] where rest.starts(with: word.unicodeScalars) {
            rest = rest.dropFirst(word.count)
            return true
        }
        return number()
    }

    private mutating func list(
        until end: Unicode.Scalar, _ item: (inout JSONGrammar) -> Bool
    ) -> Bool {
        skip(" \t\n\r")
        if take(end) { return true }
        repeat { guard item(&self) else { return false } } while take(",")
        return take(end)
    }

    // member = ws string ws ":" element
    private mutating func member() -> Bool {
        skip(" \t\n\r")
        guard take("\""), string() else { return false }
        skip(" \t\n\r")
        return take(":") && element()
    }

    private mutating func string() -> Bool {
        // The surrogate that the next escape has to complete.
        var isOpen = false
        while let scalar = rest.popFirst() {
            var unit: UInt32?
            switch scalar {
            case "\"": return !isOpen
            case "\\":
                guard let escaped = rest.popFirst() else { return false }
                if escaped == "u" {
                    let digits = String(String.UnicodeScalarView(rest.prefix(4)))
                    rest = rest.dropFirst(4)
                    guard digits.utf8.count == 4, !digits.hasPrefix("+"), !digits.hasPrefix("-"),
                        let value = UInt32(digits, radix: 16)
                    else { return false }
                    unit = value
                } else if !"\"\\/bfnrt".unicodeScalars.contains(escaped) {
                    return false
                }
            case "\u{0}"..."\u{1F}": return false
            default: break
            }
            let isTrail = unit.map { (0xDC00...0xDFFF).contains($0) } ?? false
            guard isTrail == isOpen else { return false }
            isOpen = unit.map { (0xD800...0xDBFF).contains($0) } ?? false
        }
        return false
    }

    private mutating func number() -> Bool {
        _ = take("-")
        if !take("0") { guard digits() else { return false } }
        if take(".") { guard digits() else { return false } }
        guard take("e") || take("E") else { return true }
        _ = take("+") || take("-")
        return digits()
    }

    private mutating func digits() -> Bool {
        let before = rest.count
        skip("0123456789")
        return rest.count < before
    }

    private mutating func skip(_ scalars: String) {
        rest = rest.drop { scalars.unicodeScalars.contains($0) }
    }

    private mutating func take(_ scalar: Unicode.Scalar) -> Bool {
        guard rest.first == scalar else { return false }
        rest.removeFirst()
        return true
    }
}
