internal import Glibc

/// The name of a header, made ready to be looked for among those of many requests.
///
/// ```swift
/// extension HeaderName { static let range: HeaderName = "Range" }
/// let value = exchange.header(.range)
/// ```
public struct HeaderName: Sendable, ExpressibleByStringLiteral, CustomStringConvertible {
    private let text: StaticString
    /// What tells it from nearly all others.
    let mark: HeaderMark

    /// Makes a name, in any case.
    public init(stringLiteral text: StaticString) {
        self.text = text
        mark = unsafe HeaderMark(
            UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }

    /// The name as it was written.
    public var description: String { text.description }

    /// Whether these bytes are the name, but for the case of letters.
    func isSame(as name: UnsafeRawBufferPointer) -> Bool {
        unsafe name.isSameIgnoringCase(as: text)
    }
}

/// The length of a name and its last bytes, without the case of letters: names that differ here
/// are different, and few others are.
struct HeaderMark: Equatable {
    private let word: UInt64

    init(_ name: UnsafeRawBufferPointer) {
        var word: UInt64 = 0
        if name.count >= 8 {
            word = unsafe name.loadUnaligned(fromByteOffset: name.count - 8, as: UInt64.self)
        } else {
            for index in name.indices { word = unsafe word << 8 | UInt64(name[index]) }
        }
        self.word = (word | 0x2020_2020_2020_2020) ^ UInt64(name.count) << 56
    }

    /// One bit of 64, for a set in which a mark is looked for before the marks themselves.
    var bit: UInt64 { 1 &<< ((word &* 0x9E37_79B9_7F4A_7C15) >> 58) }
}

extension UnsafeRawBufferPointer {
    /// Whether the bytes are those of `word` but for the case of ASCII letters.
    func isSameIgnoringCase(as word: StaticString) -> Bool {
        guard count == word.utf8CodeUnitCount, let start = baseAddress else { return false }
        // Nearly everybody writes them as they are written here.
        guard unsafe memcmp(start, word.utf8Start, count) != 0 else { return true }
        for index in 0..<count {
            guard unsafe self[index].lowercasedASCII == word.utf8Start[index].lowercasedASCII
            else { return false }
        }
        return true
    }
}

extension UInt8 {
    fileprivate var lowercasedASCII: UInt8 {
        (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(self) ? self | 0x20 : self
    }
}
