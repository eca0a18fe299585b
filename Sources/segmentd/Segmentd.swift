import ArgumentParser
import CSharedMemory
import Glibc
import Logging
import MicroHTTP
import SegmentAPI
import SegmentService
import SharedMemory

/// The program: starts the service, serves until it is told to stop, and leaves in good order.
@main
struct Segmentd: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "segmentd",
        abstract: "Serves the shared memory of this host over HTTP.",
        usage: """
            segmentd [OPTIONS]
            segmentd health [--listen <address>] [--path <path>] [--timeout <seconds>]
            """,
        discussion: """
            Each flag may be given as an environment variable too: SEGMENTD_LISTEN for --listen, \
            SEGMENTD_STATE_DIR for --state-dir and so on. A flag wins over its variable.
            """,
        version: Version.text,
        subcommands: [Health.self])

    @OptionGroup(title: "Server options") var flags: Flags

    func run() throws {
        let configuration = try Configuration(flags, inherited: try InheritedSockets.take())
        let signals = Signals.block()
        let environment = configuration.service.environment
        let tokenSource = configuration.access.tokenSource(environment)
        let policy = configuration.access.policy(
            tokens: try tokenSource?.read(), environment: environment)
        let descriptorLimit = Descriptors.raiseLimit()
        var state = try StateDirectory(configuration.stateDirectory)
        let log = try Log(configuration)
        defer { log.close() }

        let store = try state.open(log.logger)
        // Should the start fail, what a predecessor left is there for the next one.
        state.isStateKept = !store.wasEmpty
        let service = SegmentService(
            configuration: configuration.service, state: store, audit: log.audit)
        let transport = configuration.server(descriptorLimit: descriptorLimit) {
            log.logger.info("libmicrohttpd: \($0)")
        }
        let facts = ServerFacts(
            version: Version.number, transport: transport,
            bodyByteLimit: configuration.bodyByteLimit)
        let api = SegmentAPI(
            service: service, policy: policy, facts: facts, audit: log.audit, log: log.access)
        let server = try Server(configuration: transport, handler: api)
        guard service.start() else { throw StartError.failure("cannot start a thread") }
        if let report = service.recover() { log.tell(report) }
        try server.start()
        let places = server.addresses
            .map { ListenAddress.url($0, isSecure: transport.security != nil) }
            .joined(separator: ", ")
        log.announce("segmentd \(Version.number) listening on \(places)")
        let manager = ServiceManager.current
        manager?.notify("READY=1", "STATUS=listening on \(places)")
        Watchdog.start(manager, service, server)
        if descriptorLimit < transport.connectionLimit {
            log.logger.warning("fewer files may be open than connections are allowed")
        }
        // Half of the code is needed only to get here, and need not stay in memory.
        csharedmemory_forget_code()

        let signal = signals.wait {
            manager?.notifyReloading()
            if tokenSource == nil, transport.security == nil {
                log.logger.notice("there is no token file and no certificate to read again")
            }
            Self.reload(tokenSource, into: policy, log.logger)
            renewCertificate(of: server, log.logger)
            manager?.notify("READY=1")
        }
        signals.exitOnNext()
        log.logger.info("stopping", metadata: ["signal": "\(signal)"])
        manager?.notify("STOPPING=1")
        server.stopAccepting()
        // Whoever waits is answered before the connections go.
        service.shutDown(by: .now.advanced(byMilliseconds: 3_000))
        server.stop(within: .milliseconds(1_500))
        state.isStateKept = service.endState()
        log.logger.info("stopped")
        _ = consume state
    }

    /// Has new connections speak TLS with the certificate that is in its file now; if that is no
    /// good, they do so with the one before.
    private func renewCertificate(of server: Server, _ logger: Logger) {
        do throws(StartError) {
            guard let security = try TransportSecurity.configured(by: flags) else { return }
            server.renew(security)
            logger.notice("read the certificate again")
        } catch {
            logger.error("the certificate stays as it was", metadata: ["reason": "\(error)"])
        }
    }

    /// Lets the tokens in that the file has now; if that is no good, those stay that there are.
    private static func reload(_ source: TokenSource?, into policy: AccessPolicy, _ logger: Logger)
    {
        guard let source else { return }
        do throws(StartError) {
            let tokens = try source.read()
            policy.replace(tokens)
            logger.notice("read the token file again", metadata: ["tokens": "\(tokens.count)"])
        } catch {
            logger.error("the tokens stay as they were", metadata: ["reason": "\(error)"])
        }
    }

    static func main() {
        Descriptors.openStandard()
        do {
            var command = try parseAsRoot()
            try command.run()
        } catch let error where exitCode(for: error).isSuccess {
            exit(withError: error)  // help and version, which are asked for
        } catch {
            giveUp(error)
        }
    }

    /// Says in one line why nothing was started.
    private static func giveUp(_ error: any Error) -> Never {
        let failure =
            switch error {
            case let error as StartError: error
            case let error as ServerError: StartError.failure(error.description)
            default: StartError.usage(message(for: error) + " (see segmentd --help)")
            }
        let line = Array("segmentd: \(LogFormat.printable(failure.description))\n".utf8)
        _ = unsafe write(STDERR_FILENO, line, line.count)
        Glibc.exit(failure.status)
    }
}
