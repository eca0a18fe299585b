import ArgumentParser
import MicroHTTP
import SegmentService

/// The flags as they were given, not yet understood: what is missing may stand in the environment.
struct Flags: ParsableArguments {
    @Option(
        help: .of(
            "Where to listen: an address and port (0 picks a free one) or unix:/path; may be repeated.",
            "\(ListenAddress.standard.text)", "address"))
    var listen: [String] = []

    @Option(help: .of("The permissions of Unix sockets, in octal.", "0600", "mode"))
    var socketMode: String?

    @Option(help: .of("The certificate for TLS at TCP addresses, as PEM.", "no TLS", "file"))
    var tlsCert: String?

    @Option(help: .of("Its private key, as PEM.", "none", "file"))
    var tlsKey: String?

    @Option(
        help: .of(
            "Who must have signed the certificates of clients, as PEM.", "clients need none",
            "file"))
    var tlsClientCa: String?

    @Flag(help: "Let any host that can reach an address use this server, without a token.")
    var insecure = false

    @Option(
        help: .of(
            "The private directory of this server.", Configuration.defaultStateDirectory, "dir"))
    var stateDir: String?

    @Option(help: .of("What a plain key stands for: systemv or posix.", "systemv", "type"))
    var defaultKeyType: String?

    @Option(help: .of("trace, debug, info, notice, warning, error or critical.", "info", "level"))
    var logLevel: String?

    @Option(help: .of("text or json.", "text", "format"))
    var logFormat: String?

    @Option(help: .of("How many threads serve connections.", "one a core, at most 4", "n"))
    var threads: String?

    @Option(
        help: .of(
            "The largest segment that may be created.",
            "\(Configuration.serviceDefaults.segmentByteLimit)", "n"))
    var maxSegmentBytes: String?

    @Option(
        help: .of(
            "How many segments made here there may be at once.",
            "\(Configuration.serviceDefaults.segmentLimit), or what the system allows", "n"))
    var maxSegments: String?

    @Option(
        help: .of(
            "How many bytes the segments made here may have in all.", "the memory of the host", "n"
        ))
    var maxTotalBytes: String?

    @Option(
        help: .of(
            "How many segments a session may be attached to.",
            "\(Configuration.serviceDefaults.attachmentLimit)", "n"))
    var maxAttachmentsPerSession: String?

    @Option(
        help: .of(
            "How many sessions there may be at once.",
            "\(Configuration.serviceDefaults.sessionLimit)", "n"))
    var maxSessions: String?

    @Option(
        help: .of(
            "How many connections there may be at once.",
            "\(Configuration.defaultConnectionLimit), or what the system allows", "n"))
    var maxConnections: String?

    @Option(
        help: .of(
            "How many connections one address, or one user of a Unix socket, may have.",
            "half of them all", "n"))
    var maxConnectionsPerAddress: String?

    @Option(
        help: .of(
            "The largest body of a request.", "\(Configuration.defaultBodyByteLimit)", "n"))
    var maxBodyBytes: String?

    @Option(
        help: .of(
            "The memory for the bodies of all requests together, but for those up to 64 KiB.",
            "the largest body, and no less than \(Configuration.defaultBodyByteLimit)", "n"))
    var maxBodyMemory: String?

    @Option(
        help: .of(
            "The memory for the head of a request.",
            "\(Configuration.serverDefaults.connectionMemory)", "n"))
    var maxHeaderBytes: String?

    @Option(
        help: .of(
            "How long a request may take to arrive.",
            "\(Configuration.serverDefaults.requestTimeout.components.seconds)", "seconds"))
    var requestTimeout: String?

    @Option(
        help: .of(
            "How long a connection may be silent.",
            "\(Configuration.serverDefaults.idleTimeout.components.seconds)", "seconds"))
    var idleTimeout: String?

    @Option(
        help: .of(
            "How many bytes a second an answer must be taken at; it has the request timeout on top.",
            "\(Configuration.defaultMinimumRate)", "n"))
    var minAnswerRate: String?

    @OptionGroup var access: AccessFlags
}

extension ArgumentHelp {
    /// The help for a flag: what it decides, what holds without it, and what its value is called.
    static func of(_ text: String, _ value: String, _ name: String) -> ArgumentHelp {
        ArgumentHelp("\(text) (default: \(value))", valueName: name)
    }
}
