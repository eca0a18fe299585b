import Glibc
import Logging
import MicroHTTP
import SegmentService
import SharedMemory

/// What the operator decided: flags come first, then the environment, then the defaults.
struct Configuration {
    /// The state directory of those who name none: on the file system of shared memory, so that it
    /// lives as long as what it may tell of.
    static var defaultStateDirectory: String { "/dev/shm/segmentd-\(geteuid())" }

    /// What the service does unless told otherwise.
    static let serviceDefaults = SegmentService.Configuration(environment: .current())

    /// What the server does unless told otherwise.
    static let serverDefaults = Server.Configuration(endpoints: [])

    /// How many clients may be connected unless the operator or the system says otherwise: a lock
    /// may have thousands waiting for it, each with a connection.
    static let defaultConnectionLimit = 16_384

    /// The largest body that is taken, in bytes: each is kept in memory until it is whole.
    static let defaultBodyByteLimit = 1 << 30

    /// How fast an answer must be taken, in bytes a second: slow enough for any line that is in use, and
    /// fast enough for a segment not to be held for days.
    static let defaultMinimumRate = 64 * 1024

    /// The standard descriptors, those of the event loops, and room for turning clients away.
    private static let descriptorReserve = 128

    /// Where to listen, in the order given.
    let listen: [ListenAddress]
    /// The state directory; nil for the default one.
    let stateDirectory: String?
    let logLevel: Logger.Level
    let logFormat: LogFormat
    let service: SegmentService.Configuration
    let access: AccessSettings
    /// How many bytes the body of a request may have.
    let bodyByteLimit: Int
    private let threads: Int
    /// How many clients may be connected; nil for as many as is sensible here.
    private let connectionLimit: Int?
    /// How many of them one client may have; nil for half.
    private let connectionLimitPerClient: Int?
    private let security: TransportSecurity?
    private let bodyMemoryLimit: Int
    private let headerByteLimit: Int
    private let minimumRate: Int
    private let requestTimeout: Duration
    private let idleTimeout: Duration

    /// Reads the flags, and the environment for those that were not given.
    ///
    /// - Parameters:
    ///   - flags: The flags.
    ///   - inherited: The sockets that the process was started with.
    /// - Throws: ``StartError`` that names what cannot be meant.
    init(_ flags: Flags, inherited: [ListenAddress]) throws(StartError) {
        let mode = try Setting("socket-mode", flags.socketMode, Self.mode).value ?? 0o600
        let named = try Setting.list("listen", flags.listen) { (text) throws(BadValue) in
            try ListenAddress(text, mode: mode)
        }
        let chosen = inherited + named
        listen = chosen.isEmpty ? [.standard] : chosen
        access = try AccessSettings(flags.access, listen: listen)
        try Self.check(
            listen, isInsecure: try Setting.isSet("insecure", flags.insecure),
            hasTokens: access.tokenFile != nil)
        stateDirectory = try Setting("state-dir", flags.stateDir, Self.path).value
        security = try TransportSecurity.configured(by: flags)
        logLevel = try Setting("log-level", flags.logLevel, Self.level).value ?? .info
        logFormat = try Setting("log-format", flags.logFormat, Self.format).value ?? .text
        threads =
            try Setting("threads", flags.threads, Self.number(1...256)).value ?? Self.threads

        var service = Self.serviceDefaults
        service.defaultKeyType =
            try Setting("default-key-type", flags.defaultKeyType, Self.keyType).value
            ?? service.defaultKeyType
        service.segmentByteLimit =
            try Setting("max-segment-bytes", flags.maxSegmentBytes, Self.number(1...(.max))).value
            ?? service.segmentByteLimit
        service.environment.moreKeyDirectories = access.keyDirectories
        service.segmentLimit =
            try Setting("max-segments", flags.maxSegments, Self.number(1...1_000_000)).value
            ?? max(16, min(service.segmentLimit, Descriptors.raiseLimit() / 4))
        service.createdByteLimit =
            try Setting("max-total-bytes", flags.maxTotalBytes, Self.number(1...(.max))).value
            ?? service.createdByteLimit
        service.attachmentLimit =
            try Setting(
                "max-attachments-per-session", flags.maxAttachmentsPerSession,
                Self.number(1...1_000_000)
            ).value ?? service.attachmentLimit
        service.sessionLimit =
            try Setting("max-sessions", flags.maxSessions, Self.number(1...10_000_000)).value
            ?? service.sessionLimit
        self.service = service

        connectionLimit =
            try Setting("max-connections", flags.maxConnections, Self.number(1...1_000_000)).value
        connectionLimitPerClient =
            try Setting(
                "max-connections-per-address", flags.maxConnectionsPerAddress,
                Self.number(1...1_000_000)
            ).value
        let bodyMemory = try Setting(
            "max-body-memory", flags.maxBodyMemory, Self.number(1...(.max))
        ).value
        let largestBody = try Setting(
            "max-body-bytes", flags.maxBodyBytes, Self.number(1...(.max))
        ).value
        if let bodyMemory, let largestBody, largestBody > bodyMemory {
            throw .usage("--max-body-bytes is more than --max-body-memory has room for")
        }
        bodyByteLimit = largestBody ?? min(Self.defaultBodyByteLimit, bodyMemory ?? .max)
        bodyMemoryLimit = bodyMemory ?? max(Self.defaultBodyByteLimit, bodyByteLimit)
        minimumRate =
            try Setting("min-answer-rate", flags.minAnswerRate, Self.number(1...(.max))).value
            ?? Self.defaultMinimumRate
        headerByteLimit =
            try Setting("max-header-bytes", flags.maxHeaderBytes, Self.number(4096...(1 << 20)))
            .value ?? Self.serverDefaults.connectionMemory
        requestTimeout =
            try Setting("request-timeout", flags.requestTimeout, Self.number(1...86_400)).value
            .map { .seconds($0) } ?? Self.serverDefaults.requestTimeout
        idleTimeout =
            try Setting("idle-timeout", flags.idleTimeout, Self.number(1...86_400)).value
            .map { .seconds($0) } ?? Self.serverDefaults.idleTimeout
    }

    /// What the server is told.
    ///
    /// - Parameters:
    ///   - descriptorLimit: How many files this process may have open.
    ///   - log: Where the transport's own remarks go.
    /// - Returns: The transport's configuration.
    func server(descriptorLimit: Int, log: @escaping @Sendable (String) -> Void)
        -> Server.Configuration
    {
        var server = Self.serverDefaults
        server.endpoints = listen.map(\.endpoint)
        server.security = security
        server.threads = threads
        server.connectionLimit =
            connectionLimit
            ?? max(
                8, min(Self.defaultConnectionLimit, descriptorLimit / 2 - Self.descriptorReserve))
        server.connectionLimitPerClient =
            connectionLimitPerClient ?? max(1, server.connectionLimit / 2)
        server.connectionMemory = headerByteLimit
        server.bodyMemoryLimit = bodyMemoryLimit
        server.minimumRate = minimumRate
        server.requestTimeout = requestTimeout
        server.idleTimeout = idleTimeout
        server.traffic = Traffic()
        server.log = log
        return server
    }

    private static var threads: Int { min(max(sysconf(CInt(_SC_NPROCESSORS_ONLN)), 1), 4) }

    /// Keeps a server that knows nobody from being open to everybody.
    private static func check(_ listen: [ListenAddress], isInsecure: Bool, hasTokens: Bool)
        throws(StartError)
    {
        guard !isInsecure, !hasTokens, let open = listen.first(where: { !$0.isLocal }) else {
            return
        }
        throw .usage(
            "other hosts can reach \(open.text): that takes --token-file, or --insecure")
    }

    // MARK: Values

    private static func mode(_ text: String) throws(BadValue) -> mode_t {
        guard text.utf8.allSatisfy({ (48...55).contains($0) }), let mode = mode_t(text, radix: 8),
            mode <= 0o777
        else { throw "is not a mode in octal, such as 0660" }
        return mode
    }

    private static func path(_ text: String) throws(BadValue) -> String {
        guard !text.isEmpty else { throw "is not a path" }
        return text
    }

    private static func level(_ text: String) throws(BadValue) -> Logger.Level {
        guard let level = Logger.Level(rawValue: text) else {
            throw "is none of \(Logger.Level.allCases.map(\.rawValue).joined(separator: ", "))"
        }
        return level
    }

    private static func format(_ text: String) throws(BadValue) -> LogFormat {
        guard let format = LogFormat(rawValue: text) else { throw "is neither text nor json" }
        return format
    }

    private static func keyType(_ text: String) throws(BadValue) -> KeyType {
        switch text {
        case "systemv": return .systemV
        case "posix": return .posix
        default: throw "is neither systemv nor posix"
        }
    }

    private static func number(_ range: ClosedRange<Int>) -> (String) throws(BadValue) -> Int {
        { (text) throws(BadValue) in
            guard text.utf8.allSatisfy({ (48...57).contains($0) }), let number = Int(text),
                range.contains(number)
            else { throw "is not a whole number from \(range.lowerBound) to \(range.upperBound)" }
            return number
        }
    }
}
