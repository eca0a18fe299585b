extension NativeKey {
    /// The one of several spellings of a key that stands for all of them: `posix:x` is `posix:/x`,
    /// and the System V path `/tmp/./x` is `/tmp/x`.
    ///
    /// Only what is the same for the kernel whatever is there: links are not followed.
    public var canonical: NativeKey {
        switch type {
        case .posix:
            return NativeKey("/" + posixName, type: type, legacyKey: legacyKey)
        case .systemV:
            var parts = value.utf8.split(
                separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
            guard parts.first?.isEmpty == true, let last = parts.popLast() else { return self }
            parts.removeAll { $0.isEmpty || $0.elementsEqual(".".utf8) }
            let path = (parts + [last]).map { "/" + String(decoding: $0, as: UTF8.self) }.joined()
            return NativeKey(path, type: type, legacyKey: legacyKey)
        case .windows:
            return self
        }
    }
}
