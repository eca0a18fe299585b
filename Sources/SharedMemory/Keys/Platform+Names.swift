extension Platform {
    /// The longest POSIX name of Apple platforms, slash included, in bytes.
    ///
    /// The kernel's own constant says 31, of which 30 can be used.
    static let appleNameLimit = 30

    /// The longest name of a Windows kernel object, in UTF-16 code units: `MAX_PATH`.
    static let windowsNameLimit = 260

    /// The name prefixes that pick a session of Windows; elsewhere a backslash is forbidden.
    static let windowsNamespaces = ["Local\\", "Global\\"]

    /// The name of a POSIX object for a plain key.
    ///
    /// In the sandbox it is the plain key, as any change would break the required form. There
    /// Qt's `platformSafeKey` is of no use: it puts a slash in front.
    func posixName(_ plain: String) -> String {
        switch self {
        case .linux, .windows: "/" + plain
        case .apple: "/" + Self.prefix(of: plain, utf16Count: Self.appleNameLimit - 1)
        case .appleSandboxed: plain
        }
    }

    /// The name of a POSIX object for a legacy key, given the name that Linux would use.
    func legacyPOSIXName(_ plain: String, derived name: String) -> String {
        switch self {
        case .linux, .windows:
            return "/" + name
        case .apple:
            // Too short for the whole name: the digest alone, and not all of it.
            let digest = SHA1.hexadecimalDigest(of: plain.utf8)
            return "/" + Self.prefix(of: digest, utf16Count: Self.appleNameLimit - 1)
        case .appleSandboxed:
            return plain
        }
    }

    /// The name of a Windows kernel object for a plain key.
    ///
    /// Windows keeps all kernel objects in one namespace, hence the different names for memory
    /// and semaphore. They stand behind a session prefix, if there is one.
    static func windowsName(_ plain: String, for purpose: KeyPurpose) -> String {
        let session = windowsNamespaces.first { plain.utf8.starts(with: $0.utf8) } ?? ""
        let kind =
            switch purpose {
            case .memory: "shm_"
            case .semaphore: "sem_"
            }
        let name = String(plain.unicodeScalars.dropFirst(session.unicodeScalars.count))
        return prefix(of: session + kind + name, utf16Count: windowsNameLimit)
    }

    // Qt cuts by UTF-16 code units. A character that would be cut in half is left out.
    private static func prefix(of text: String, utf16Count: Int) -> String {
        var result = String.UnicodeScalarView()
        var count = 0
        for scalar in text.unicodeScalars {
            count += UTF16.width(scalar)
            guard count <= utf16Count else { break }
            result.append(scalar)
        }
        return String(result)
    }
}
