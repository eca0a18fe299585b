public import SharedMemory

/// The tokens of a server, ready to be held against what clients send.
public final class TokenSet: Sendable {
    private let secrets: [Secret]
    private let callers: [Caller]

    /// How many tokens there are.
    public var count: Int { secrets.count }

    /// Prepares the tokens of a file.
    ///
    /// - Parameters:
    ///   - file: The lines.
    ///   - environment: Says where Qt puts key files, for patterns that are plain keys.
    public init(_ file: TokenFile, environment: KeyEnvironment) {
        secrets = file.entries.map(\.secret)
        callers = file.entries.map { entry in
            Caller(
                role: entry.role,
                segments: entry.globs.isEmpty
                    ? nil : SegmentPatterns(entry.globs, environment: environment),
                tokenLine: entry.line)
        }
    }

    /// Whose a token is.
    ///
    /// Holds it against every one there is, so the time tells nothing of where or whether it fits.
    func caller(presenting bytes: Span<UInt8>) -> Caller? {
        let presented = Secret(presented: bytes)
        var found = UInt64.max
        for index in secrets.indices {
            let mask = 0 &- secrets[index].isSame(as: presented)
            found = (found & ~mask) | (UInt64(index) & mask)
        }
        return found == .max ? nil : callers[Int(found)]
    }
}
