/// What Qt looks at, apart from the plain key, when it derives a native key.
///
/// Two programs derive the same System V key from the same word only if these agree, which is
/// why native keys rather than plain ones are to be passed around. ``current()`` reads them from
/// the process.
public struct KeyEnvironment: Hashable, Sendable {
    /// The operating system whose rules hold.
    public var platform: Platform

    /// The text of `TMPDIR`; nil when the variable is unset.
    public var temporaryDirectory: String?

    /// The text of `XDG_RUNTIME_DIR`; nil when the variable is unset.
    public var runtimeDirectory: String?

    /// The absolute path against which a relative `TMPDIR` is taken.
    public var workingDirectory: String

    /// The effective user id.
    public var userID: UInt32

    /// The login name of ``userID``; nil when the user database has none, as in many containers.
    public var userName: String?

    /// Directories besides Qt's that key files may lie in, as absolute paths.
    ///
    /// No key is derived from them.
    public var moreKeyDirectories: [String] = []

    /// Makes an environment from its parts.
    ///
    /// - Parameters:
    ///   - platform: The operating system whose rules hold.
    ///   - temporaryDirectory: The text of `TMPDIR`.
    ///   - runtimeDirectory: The text of `XDG_RUNTIME_DIR`.
    ///   - workingDirectory: An absolute path.
    ///   - userID: The effective user id.
    ///   - userName: The login name of `userID`.
    public init(
        platform: Platform = .linux,
        temporaryDirectory: String? = nil,
        runtimeDirectory: String? = nil,
        workingDirectory: String,
        userID: UInt32,
        userName: String?
    ) {
        self.platform = platform
        self.temporaryDirectory = temporaryDirectory
        self.runtimeDirectory = runtimeDirectory
        self.workingDirectory = workingDirectory
        self.userID = userID
        self.userName = userName
    }

    /// The directory of the key files of legacy System V keys: Qt's `TempLocation`.
    ///
    /// It is `TMPDIR` made absolute and tidied, or `/tmp` if that is unset or empty. Nobody looks
    /// whether it exists.
    public var temporaryLocation: String {
        guard let temporaryDirectory, !temporaryDirectory.isEmpty else { return "/tmp" }
        let isAbsolute = temporaryDirectory.utf8.first == UInt8(ascii: "/")
        let path = Self.tidied((isAbsolute ? "" : workingDirectory + "/") + temporaryDirectory)
        // Qt takes one slash off the end, and of any others it leaves one.
        let isDoubled = temporaryDirectory.utf8.reversed().starts(with: "//".utf8)
        return isDoubled && temporaryDirectory != "//" ? path + "/" : path
    }

    /// Finds the directory of the key files of other System V keys: Qt's `RuntimeLocation`.
    ///
    /// It is `XDG_RUNTIME_DIR`, verbatim, if that is an absolute path of a real directory which
    /// belongs to the user and which nobody else may enter (mode 0700). Failing that it is
    /// `runtime-USER` in the ``temporaryLocation``, on the same conditions. A missing directory
    /// is made if its parent exists.
    ///
    /// - Parameter creatingMissing: Whether to make a missing directory. If not, one that could
    ///   be made counts as present.
    /// - Returns: The path, or an empty string if neither directory will do. Qt then puts key
    ///   files into the root directory.
    public func runtimeLocation(creatingMissing: Bool) -> String {
        if let runtimeDirectory, runtimeDirectory.utf8.first == UInt8(ascii: "/"),
            isPrivateDirectory(runtimeDirectory, creatingMissing: creatingMissing)
        {
            return runtimeDirectory
        }
        // A user without a name shares `runtime-` with every other such user, and loses it to
        // the first of them.
        let fallback = temporaryLocation + "/runtime-" + (userName ?? "")
        return isPrivateDirectory(fallback, creatingMissing: creatingMissing) ? fallback : ""
    }

    // Tidied by text alone: `x/..` goes even where x is a symbolic link, and a `..` with nothing
    // before it stays.
    private static func tidied(_ path: String) -> String {
        var components: [Substring.UTF8View] = []
        for component in Substring(path).utf8.split(separator: UInt8(ascii: "/")) {
            let isParent = component.elementsEqual("..".utf8)
            if component.elementsEqual(".".utf8) {
                continue
            } else if isParent, let last = components.last, !last.elementsEqual("..".utf8) {
                components.removeLast()
            } else {
                components.append(component)
            }
        }
        return "/" + components.map { String(Substring($0)) }.joined(separator: "/")
    }
}
