import ArgumentParser
import MicroHTTP
import SegmentAPI
import SharedMemory

/// The flags that say who may do what.
struct AccessFlags: ParsableArguments {
    @Option(
        help: .of(
            "The tokens that let clients in: lines of TOKEN inspect|use|admin [PATTERN…].",
            "none, everybody may do everything", "file"))
    var tokenFile: String?

    @Option(
        help: .of(
            "One more name by which clients may call this server; may be repeated.",
            "loopback names and the addresses listened on", "name"))
    var host: [String] = []

    @Option(
        help: .of(
            "Show clients only segments whose id or key fits; may be repeated.", "all", "pattern"))
    var allow: [String] = []

    @Option(
        help: .of(
            "Hide segments whose id or key fits, allowed or not; may be repeated.", "none",
            "pattern"))
    var deny: [String] = []

    @Flag(help: "Refuse whatever would change a segment, a lock or a session.")
    var readOnly = false

    @Option(
        help: .of(
            "One more directory for key files of System V segments; may be repeated.",
            "where Qt puts them: TMPDIR and XDG_RUNTIME_DIR", "dir"))
    var keyDir: [String] = []
}

/// Who may do what, as the operator decided it.
struct AccessSettings {
    let tokenFile: String?
    /// More directories that key files may lie in.
    let keyDirectories: [String]
    private let hosts: [String]
    private let allow: [Glob]
    private let deny: [Glob]
    private let isReadOnly: Bool

    private let isListeningEverywhere: Bool

    /// Reads the flags.
    ///
    /// - Parameters:
    ///   - flags: The flags.
    ///   - listen: Where the server listens; clients may call it by those addresses.
    /// - Throws: ``StartError`` that names what cannot be meant.
    init(_ flags: AccessFlags, listen: [ListenAddress]) throws(StartError) {
        tokenFile = try Setting("token-file", flags.tokenFile, Self.path).value
        keyDirectories = try Setting.list("key-dir", flags.keyDir, Self.directory)
        let addresses = listen.compactMap(\.endpoint.host)
        isListeningEverywhere = addresses.contains { $0 == "0.0.0.0" || $0 == "::" }
        hosts = try Setting.list("host", flags.host, Self.host) + addresses
        allow = try Setting.list("allow", flags.allow, Self.glob)
        deny = try Setting.list("deny", flags.deny, Self.glob)
        isReadOnly = try Setting.isSet("read-only", flags.readOnly)
    }

    /// Where the tokens are, if clients need one.
    func tokenSource(_ environment: KeyEnvironment) -> TokenSource? {
        tokenFile.map { TokenSource(path: $0, environment: environment) }
    }

    /// Puts the policy together.
    func policy(tokens: TokenSet?, environment: KeyEnvironment) -> AccessPolicy {
        guard let hosts = HostRules(names: hosts, allowsAddresses: isListeningEverywhere)
        else {
            preconditionFailure("each was looked at when it was read")
        }
        return AccessPolicy(
            hosts: hosts, tokens: tokens, allowed: allow, denied: deny, isReadOnly: isReadOnly,
            environment: environment)
    }

    // MARK: Values

    private static func path(_ text: String) throws(BadValue) -> String {
        guard !text.isEmpty else { throw "is not a path" }
        return text
    }

    private static func directory(_ text: String) throws(BadValue) -> String {
        guard text.hasPrefix("/") else { throw "is not an absolute path" }
        return text
    }

    private static func host(_ text: String) throws(BadValue) -> String {
        guard HostRules(names: [text]) != nil else {
            throw "is not the name or the address of a host, without a port"
        }
        return text
    }

    private static func glob(_ text: String) throws(BadValue) -> Glob {
        guard let glob = Glob(text) else { throw "is not a pattern" }
        return glob
    }
}
