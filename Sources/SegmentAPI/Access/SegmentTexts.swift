import SharedMemory

extension SegmentName {
    /// Reads the id that an answer gives; `nil` when it is none.
    init?(id: String) {
        if let key = NativeKey(text: id) {
            self = .key(key)
        } else if id.hasPrefix("shmid:"), let number = CInt(id.dropFirst(6)) {
            self = .identifier(number)
        } else {
            return nil
        }
    }
}

/// The texts that patterns are held against for one segment, the same whichever of its names a
/// client used.
struct SegmentTexts {
    /// The native key: `posix:/name`, `systemv:/path`; or `shmid:` and a number.
    let native: String
    /// The plain key that Qt made the native one of, where that is known and true.
    let plain: String?
    /// The id that answers give, with the plain key in it.
    let id: String
    /// Whether Qt made the key of some plain key, known or not.
    let isDerived: Bool

    /// Writes the texts of a name.
    ///
    /// - Parameters:
    ///   - name: Any name of the segment. A plain key in it counts only if the native key is made
    ///     of it, for anybody may write one behind any native key.
    ///   - environment: Says where Qt puts key files.
    init(_ name: SegmentName, environment: KeyEnvironment) {
        guard case .key(let key) = name else {
            native = name.description
            plain = nil
            id = native
            isDerived = false
            return
        }
        let tidied = Self.tidied(key)
        native = tidied.text
        isDerived = tidied.hasLegacyName
        let claim = key.legacyKey
        let isTrue = claim.map { claim in
            let derived = NativeKey.legacy(
                claim, type: key.type, for: .memory, environment: environment)
            return derived.value == tidied.value
        }
        plain = isTrue == true ? claim : nil
        id = plain.map { NativeKey(tidied.value, type: key.type, legacyKey: $0).text } ?? native
    }

    /// The key as it is written with nothing in it that means nothing: `posix:x` is `posix:/x`,
    /// `systemv:/a/.//b` is `systemv:/a/b`.
    private static func tidied(_ key: NativeKey) -> NativeKey {
        switch key.type {
        case .posix: return NativeKey("/" + key.posixName, type: .posix)
        case .systemV:
            let components = key.value.split(separator: "/").filter { $0 != "." }
            return NativeKey("/" + components.joined(separator: "/"), type: key.type)
        case .windows: return NativeKey(key.value, type: key.type)
        }
    }
}
