extension NativeKey {
    /// Derives the key that `QSharedMemory::platformSafeKey` and
    /// `QSystemSemaphore::platformSafeKey` make of a plain key.
    ///
    /// On Linux a POSIX key gets a slash in front, and a System V key the runtime directory
    /// unless it is an absolute path already. Memory and semaphore get the same name. Nothing is
    /// escaped or removed: the outcome may be no name the kernel takes, see ``validate(on:)``.
    ///
    /// - Parameters:
    ///   - plain: The name an application chose.
    ///   - type: The kind of memory.
    ///   - purpose: What the key is to name; only Windows makes a difference.
    ///   - environment: Where the application runs.
    ///   - creatingMissing: Whether a System V key may make the runtime directory. Qt always
    ///     does; without it nothing is made, and the key is the same.
    /// - Returns: The key, without a legacy key. It is empty when `plain` is, and when the
    ///   platform does not support `type`.
    public static func platformSafe(
        _ plain: String,
        type: KeyType,
        for purpose: KeyPurpose = .memory,
        environment: KeyEnvironment,
        creatingMissing: Bool = false
    ) -> NativeKey {
        guard !plain.isEmpty, environment.platform.supports(type) else {
            return NativeKey("", type: type)
        }
        let value =
            switch type {
            case .posix:
                environment.platform.posixName(plain)
            case .systemV(projectID: _) where plain.utf8.first == UInt8(ascii: "/"):
                plain
            case .systemV(projectID: _):
                environment.runtimeLocation(creatingMissing: creatingMissing) + "/" + plain
            case .windows:
                Platform.windowsName(plain, for: purpose)
            }
        return NativeKey(value, type: type)
    }

    /// Derives the key that `QSharedMemory::legacyNativeKey` and
    /// `QSystemSemaphore::legacyNativeKey` make of a plain key.
    ///
    /// These are the names that `QSharedMemory(key)` and `setKey(key)` have used since Qt 4.4:
    /// a fixed prefix, the ASCII letters of the plain key, and the SHA-1 of its UTF-8.
    ///
    /// - Parameters:
    ///   - plain: The name an application chose.
    ///   - type: The kind of memory. Applications that predate Qt 6.6 use
    ///     ``Platform/legacyDefaultKeyType``.
    ///   - purpose: What the key is to name. The two names differ.
    ///   - environment: Where the application runs.
    /// - Returns: The key, with `plain` as its legacy key. It is empty when `plain` is, and when
    ///   the platform does not support `type`.
    public static func legacy(
        _ plain: String,
        type: KeyType,
        for purpose: KeyPurpose,
        environment: KeyEnvironment
    ) -> NativeKey {
        guard !plain.isEmpty, environment.platform.supports(type) else {
            return NativeKey("", type: type)
        }
        let name = legacyName(plain, for: purpose)
        let value =
            switch type {
            case .posix: environment.platform.legacyPOSIXName(plain, derived: name)
            case .systemV(projectID: _): environment.temporaryLocation + "/" + name
            case .windows: name
            }
        return NativeKey(value, type: type, legacyKey: plain)
    }

    /// The last component of the names that Qt derives from legacy keys.
    static func legacyName(_ plain: String, for purpose: KeyPurpose) -> String {
        let letters = plain.utf8.filter(\.isASCIILetter)
        return purpose.legacyPrefix
            + String(decoding: letters, as: UTF8.self)
            + SHA1.hexadecimalDigest(of: plain.utf8)
    }
}

extension UInt8 {
    var isASCIILetter: Bool {
        (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(self | 0x20)
    }
}
