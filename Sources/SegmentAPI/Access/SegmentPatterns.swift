import SharedMemory

/// Some of the segments, told by patterns for their ids and keys.
struct SegmentPatterns: Sendable {
    private let globs: [Glob]
    private let ofDerivedKeys: [Glob]

    /// Prepares patterns.
    ///
    /// - Parameters:
    ///   - globs: The patterns. One without a wildcard may be a plain key: then it stands for the
    ///     native keys that Qt makes of it too.
    ///   - environment: Says where Qt puts key files.
    init(_ globs: [Glob], environment: KeyEnvironment) {
        let derived = globs.compactMap(\.literal).flatMap { plain in
            [KeyType.systemV, .posix].map { type in
                NativeKey.legacy(plain, type: type, for: .memory, environment: environment)
            }
        }
        self.globs =
            globs + derived.map { Glob(literally: NativeKey($0.value, type: $0.type).text) }
        ofDerivedKeys = globs.map(\.ofDerivedKeys)
    }

    /// Whether a pattern fits the id, the native key or the plain key.
    func fit(_ texts: SegmentTexts) -> Bool {
        globs.contains { glob in
            glob.matches(texts.native) || texts.plain.map(glob.matches) ?? false
                || texts.plain != nil && glob.matches(texts.id)
        }
    }

    /// Whether a pattern fits, or could if the plain key were known: for what must not be shown.
    func mayFit(_ texts: SegmentTexts) -> Bool {
        if fit(texts) { return true }
        guard texts.isDerived, texts.plain == nil else { return false }
        return ofDerivedKeys.contains { $0.matches(texts.native) }
    }
}
