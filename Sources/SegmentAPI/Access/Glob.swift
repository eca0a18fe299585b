/// A pattern for the ids and keys of segments.
///
/// `*` stands for any run of characters, slashes too; `?` for one character; `[abc]`, `[a-z]` and
/// `[!a-z]` for one of a set; a backslash takes the next character as it is. The pattern fits the
/// whole text or not at all, and letters are not mixed with their capitals.
public struct Glob: Hashable, Sendable {
    private enum Element: Hashable, Sendable {
        case character(Unicode.Scalar)
        case anyCharacter
        case anyRun
        case oneOf([ClosedRange<Unicode.Scalar>], isNegated: Bool)

        func fits(_ scalar: Unicode.Scalar) -> Bool {
            switch self {
            case .character(let own): own == scalar
            case .anyCharacter: true
            case .anyRun: false
            case .oneOf(let ranges, let isNegated):
                ranges.contains { $0.contains(scalar) } != isNegated
            }
        }
    }

    private let elements: [Element]

    /// Reads a pattern; fails when it is empty, a `[` is not closed, a range runs backwards, or a
    /// backslash has nothing behind it.
    ///
    /// - Parameter text: The pattern.
    public init?(_ text: some StringProtocol) {
        var rest = Array(text.unicodeScalars)[...]
        var elements: [Element] = []
        while let scalar = rest.popFirst() {
            switch scalar {
            case "*": if elements.last != .anyRun { elements.append(.anyRun) }
            case "?": elements.append(.anyCharacter)
            case "[":
                guard let set = Self.set(&rest) else { return nil }
                elements.append(set)
            case "\\":
                guard let next = rest.popFirst() else { return nil }
                elements.append(.character(next))
            default: elements.append(.character(scalar))
            }
        }
        guard !elements.isEmpty else { return nil }
        self.elements = elements
    }

    private init(elements: [Element]) { self.elements = elements }

    /// A pattern that fits one text only.
    init(literally text: String) {
        self.init(elements: text.unicodeScalars.map { .character($0) })
    }

    /// Reads what follows a `[`; as in a shell, a `]` that comes first is one of the set.
    private static func set(_ rest: inout ArraySlice<Unicode.Scalar>) -> Element? {
        let isNegated = rest.first == "!" || rest.first == "^"
        if isNegated { rest.removeFirst() }
        var ranges: [ClosedRange<Unicode.Scalar>] = []
        while let first = rest.popFirst() {
            if first == "]", !ranges.isEmpty { return .oneOf(ranges, isNegated: isNegated) }
            var last = first
            if rest.first == "-", let end = rest.dropFirst().first, end != "]" {
                last = end
                rest.removeFirst(2)
            }
            guard first <= last else { return nil }
            ranges.append(first...last)
        }
        return nil
    }

    /// Whether the whole of a text fits.
    ///
    /// Takes no longer than the product of both lengths, whatever the pattern.
    public func matches(_ text: String) -> Bool {
        let scalars = text.unicodeScalars
        var position = scalars.startIndex
        var index = 0
        // Where to go on when something does not fit: behind the last run, which takes one more.
        var retry: (index: Int, position: String.Index)?
        while position < scalars.endIndex {
            if index < elements.count, elements[index] == .anyRun {
                index += 1
                retry = (index, position)
            } else if index < elements.count, elements[index].fits(scalars[position]) {
                index += 1
                scalars.formIndex(after: &position)
            } else if let last = retry {
                let next = scalars.index(after: last.position)
                (index, position) = (last.index, next)
                retry = (last.index, next)
            } else {
                return false
            }
        }
        return elements[index...].allSatisfy { $0 == .anyRun }
    }

    /// The one text that fits, where the pattern has no wildcard.
    var literal: String? {
        var text = String.UnicodeScalarView()
        for element in elements {
            guard case .character(let scalar) = element else { return nil }
            text.append(scalar)
        }
        return String(text)
    }

    /// A pattern that fits every native key which Qt could have derived from a plain key that this
    /// one fits, and some others: the derived name keeps the ASCII letters of the plain key.
    var ofDerivedKeys: Glob {
        var derived = [Element.anyRun]
        derived += "qipc_sharedmemory_".unicodeScalars.map { .character($0) }
        for element in elements {
            if case .character(let scalar) = element {
                if scalar.isASCII, scalar.properties.isAlphabetic { derived.append(element) }
            } else if derived.last != .anyRun {
                derived.append(.anyRun)
            }
        }
        if derived.last != .anyRun { derived.append(.anyRun) }
        return Glob(elements: derived)
    }
}
