extension NativeKey {
    /// The key of the semaphore that Qt locks this segment with.
    ///
    /// There are two cases:
    ///
    /// - A segment named by a legacy key (``legacyKey`` is known, or ``hasLegacyName`` tells) has
    ///   its lock under a name of its own, `qipc_systemsem_` in place of `qipc_sharedmemory_`, in
    ///   the same directory.
    /// - Every other segment shares its key with its lock; the kernel keeps memory and
    ///   semaphores apart.
    ///
    /// Qt itself looks at the legacy key alone. A Qt program that was handed the name of a legacy
    /// segment without it (`posix:/qipc_sharedmemory_…`, no `?legacyKey=`) uses another lock than
    /// the segment's owner, and the two do not exclude each other; here both forms lead to the
    /// owner's lock.
    ///
    /// The names are those of Linux. Apple platforms have no room for two different ones.
    public var semaphoreKey: NativeKey {
        let name: String
        if let legacyKey {
            name = Self.legacyName(legacyKey, for: .semaphore)
        } else if hasLegacyName {
            let rest = lastComponent.dropFirst(KeyPurpose.memory.legacyPrefix.utf8.count)
            name = KeyPurpose.semaphore.legacyPrefix + String(decoding: rest, as: UTF8.self)
        } else {
            return self
        }
        let directory = value.utf8.dropLast(lastComponent.count)
        return NativeKey(
            String(decoding: directory, as: UTF8.self) + name,
            type: type,
            legacyKey: legacyKey
        )
    }

    /// Whether the value looks like the name of a segment that Qt derived from a legacy key.
    ///
    /// It does if its last component is `qipc_sharedmemory_`, ASCII letters, and 40 lower-case
    /// hexadecimal digits.
    public var hasLegacyName: Bool {
        let prefix = KeyPurpose.memory.legacyPrefix.utf8
        guard lastComponent.starts(with: prefix) else { return false }
        let rest = lastComponent.dropFirst(prefix.count)
        return rest.count >= 40
            && rest.dropLast(40).allSatisfy(\.isASCIILetter)
            && rest.suffix(40).allSatisfy("0123456789abcdef".utf8.contains)
    }

    private var lastComponent: ArraySlice<UInt8> {
        Array(value.utf8).suffix { $0 != UInt8(ascii: "/") }
    }
}

extension Array {
    fileprivate func suffix(while predicate: (Element) -> Bool) -> ArraySlice<Element> {
        self[(lastIndex { !predicate($0) } ?? -1) + 1..<endIndex]
    }
}
