extension NativeKey {
    /// The name the kernel knows a POSIX object by: the value without the slashes in front.
    ///
    /// `posix:x`, `posix:/x` and `posix:/%2Fx` are keys of one object. For keys of another type
    /// this has no meaning.
    public var posixName: String {
        String(decoding: value.utf8.drop { $0 == UInt8(ascii: "/") }, as: UTF8.self)
    }

    /// Checks that the key could name a segment, before the kernel is asked.
    ///
    /// Qt leaves this to the kernel. This is stricter than the kernel where a key would be a
    /// trap: a NUL, which cuts the name short; and System V paths that are relative or contain
    /// `..`, which do not name one file for everybody.
    ///
    /// - Parameter platform: The platform the key is for.
    /// - Throws: The ``KeyIssue`` that was found first.
    public func validate(on platform: Platform = .linux) throws(KeyIssue) {
        guard platform.supports(type) else { throw .unsupportedType(self) }
        guard !value.isEmpty else { throw .empty(self) }
        guard !hasNUL else { throw .containsNUL(self) }
        switch (type, platform) {
        case (.posix, .appleSandboxed(let group)): try validateSandboxName(applicationGroup: group)
        case (.posix, .apple): try validatePOSIXName(limit: Platform.appleNameLimit - 1)
        case (.posix, _): try validatePOSIXName(limit: Self.posixNameLimit)
        case (.systemV(let projectID), _): try validatePath(projectID: projectID)
        case (.windows, _): try validateWindowsName()
        }
    }

    // A file name of at most 255 bytes, of which the name of the lock takes four for `sem.`.
    private static let posixNameLimit = 251
    private static let fileNameLimit = 255
    // The kernel's PATH_MAX is 4096 and counts the NUL at the end.
    private static let pathLimit = 4095

    private func validatePOSIXName(limit: Int) throws(KeyIssue) {
        let name = posixName
        guard !name.isEmpty else { throw .onlySlashes(self) }
        guard !name.utf8.contains(UInt8(ascii: "/")) else { throw .containsSlash(self) }
        guard name != ".", name != ".." else { throw .namesDirectory(self) }
        guard name.utf8.count <= limit else {
            throw .nameTooLong(self, count: name.utf8.count, limit: limit)
        }
    }

    // Bytes by their places, here and below: keys are looked at with every request that has no
    // session, and views of a string's parts cost more than all the rest.
    private var hasNUL: Bool {
        let bytes = value.utf8.span
        for index in bytes.indices where bytes[index] == 0 { return true }
        return false
    }

    private func validatePath(projectID: UInt8) throws(KeyIssue) {
        guard projectID != 0 else { throw .zeroProjectID(self) }
        guard value.utf8.first == UInt8(ascii: "/") else { throw .relativePath(self) }
        guard value.utf8.count <= Self.pathLimit else {
            throw .pathTooLong(self, count: value.utf8.count, limit: Self.pathLimit)
        }
        let bytes = value.utf8.span
        let (slash, dot) = (UInt8(ascii: "/"), UInt8(ascii: "."))
        var start = 0
        for end in 0...bytes.count where end == bytes.count || bytes[end] == slash {
            let count = end - start
            guard count != 2 || bytes[start] != dot || bytes[start + 1] != dot else {
                throw .parentComponent(self)
            }
            guard count <= Self.fileNameLimit else {
                throw .nameTooLong(self, count: count, limit: Self.fileNameLimit)
            }
            start = end + 1
        }
    }

    private func validateSandboxName(applicationGroup: String?) throws(KeyIssue) {
        let parts = value.utf8.split(
            separator: UInt8(ascii: "/"),
            omittingEmptySubsequences: false
        )
        guard parts.count == 2, parts.allSatisfy({ !$0.isEmpty }),
            applicationGroup.map({ parts[0].elementsEqual($0.utf8) }) ?? true
        else { throw .outsideApplicationGroup(self, applicationGroup: applicationGroup) }
        guard value.utf8.count <= Platform.appleNameLimit else {
            throw .nameTooLong(self, count: value.utf8.count, limit: Platform.appleNameLimit)
        }
    }

    private func validateWindowsName() throws(KeyIssue) {
        let session = Platform.windowsNamespaces.first { value.utf8.starts(with: $0.utf8) } ?? ""
        let name = value.utf8.dropFirst(session.utf8.count)
        guard !name.isEmpty else { throw .empty(self) }
        guard !name.contains(UInt8(ascii: "\\")) else { throw .containsBackslash(self) }
        guard value.utf16.count <= Platform.windowsNameLimit else {
            throw .nameTooLong(self, count: value.utf16.count, limit: Platform.windowsNameLimit)
        }
    }
}
