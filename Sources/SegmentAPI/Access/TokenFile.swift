/// The lines of a token file: `TOKEN ROLE [GLOB…]`.
///
/// Words are parted by spaces or tabs. A word that begins with `#` begins a comment, which ends
/// with the line; lines without a word are skipped.
public struct TokenFile: Sendable {
    /// One line: a token and what it is good for.
    struct Entry: Sendable {
        let secret: Secret
        let role: Role
        /// Which segments it is limited to; empty for all.
        let globs: [Glob]
        let line: Int
    }

    /// Why a text is no token file: the line, and what is wrong with it, but nothing of a token.
    public struct Flaw: Error, Hashable, Sendable, CustomStringConvertible {
        /// The number of the line, the first being 1; `nil` where it is no one line's fault.
        public let line: Int?
        /// The end of a sentence that begins with the line.
        public let reason: String

        /// One sentence.
        public var description: String { line.map { "line \($0) \(reason)" } ?? reason }
    }

    let entries: [Entry]

    /// How many bytes a file may have.
    public static let byteLimit = 1024 * 1024

    /// Reads the text of a file.
    ///
    /// - Parameter bytes: The text, in UTF-8.
    /// - Throws: ``Flaw`` that names the first line at fault. A file without a token is at fault
    ///   too: nobody could come in.
    public init(_ bytes: [UInt8]) throws(Flaw) {
        var entries: [Entry] = []
        var lines: [Secret: Int] = [:]
        let all = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        for (index, bytes) in all.enumerated() {
            let number = index + 1
            guard let entry = try Self.entry(bytes, line: number) else { continue }
            if let first = lines.updateValue(number, forKey: entry.secret) {
                throw Flaw(line: number, reason: "has the token of line \(first) again")
            }
            entries.append(entry)
        }
        guard !entries.isEmpty else { throw Flaw(line: nil, reason: "there is no token in it") }
        self.entries = entries
    }

    private static func entry(_ bytes: ArraySlice<UInt8>, line: Int) throws(Flaw) -> Entry? {
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw Flaw(line: line, reason: "is not UTF-8")
        }
        let words = text.split { $0 == " " || $0 == "\t" || $0 == "\r" }
            .prefix { !$0.hasPrefix("#") }
        guard let token = words.first else { return nil }
        guard let secret = Secret(token) else {
            throw Flaw(
                line: line,
                reason: "has no token: letters, digits and -._~+/, perhaps = at the end, at most "
                    + "\(Secret.byteLimit) of them")
        }
        guard let word = words.dropFirst().first else {
            throw Flaw(line: line, reason: "has no role: inspect, use or admin")
        }
        guard let role = Role(rawValue: String(word)) else {
            throw Flaw(line: line, reason: "has a role that is none of inspect, use and admin")
        }
        var globs: [Glob] = []
        for word in words.dropFirst(2) {
            guard let glob = Glob(word) else {
                throw Flaw(line: line, reason: "has a pattern that is malformed")
            }
            globs.append(glob)
        }
        return Entry(secret: secret, role: role, globs: globs, line: line)
    }
}
