/// The characters of a token, in a form that two can be compared in without telling where they
/// differ.
///
/// Each is kept in as many bytes as the longest may have, so every comparison does the same work.
struct Secret: Hashable, Sendable {
    /// How many characters a token may have.
    static let byteLimit = 256

    // The characters, eight a word and padded with zeros, and in the last word how many there are.
    private var words = InlineArray<33, UInt64>(repeating: 0)

    /// Reads a token as RFC 6750 spells it: letters, digits and `-._~+/`, then perhaps `=`.
    init?(_ text: some StringProtocol) {
        let body = text.utf8.reversed().drop { $0 == UInt8(ascii: "=") }
        guard !body.isEmpty, text.utf8.count <= Self.byteLimit,
            body.allSatisfy(\.isBearerCharacter)
        else { return nil }
        self.init(text.utf8, count: text.utf8.count)
    }

    /// Takes whatever a client sent; of what is too long, only the beginning and the length.
    init(presented bytes: Span<UInt8>) {
        for index in 0..<min(bytes.count, Self.byteLimit) { put(bytes[index], at: index) }
        words[32] = UInt64(bytes.count)
    }

    private init(_ bytes: some Sequence<UInt8>, count: Int) {
        for (index, byte) in bytes.enumerated() { put(byte, at: index) }
        words[32] = UInt64(count)
    }

    private mutating func put(_ byte: UInt8, at index: Int) {
        words[index / 8] |= UInt64(byte) << UInt64(index % 8 * 8)
    }

    /// 1 if both are the same, 0 if not; takes the same time either way.
    func isSame(as other: Secret) -> UInt64 {
        var difference: UInt64 = 0
        for index in 0..<33 { difference |= words[index] ^ other.words[index] }
        return ((difference | (0 &- difference)) >> 63) ^ 1
    }

    static func == (first: Secret, second: Secret) -> Bool { first.isSame(as: second) == 1 }

    func hash(into hasher: inout Hasher) {
        for index in 0..<33 { hasher.combine(words[index]) }
    }
}

extension UInt8 {
    fileprivate var isBearerCharacter: Bool {
        switch self {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"):
            true
        default: "-._~+/".utf8.contains(self)
        }
    }
}
