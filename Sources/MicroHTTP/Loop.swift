internal import CMicroHTTPD
internal import Glibc
internal import Synchronization

/// One thread that serves connections, and what it waits for.
///
/// libmicrohttpd is called on this thread only. Other threads put a note into the mailbox and ring.
@safe
final class Loop: @unchecked Sendable {
    // Sendable: the constants are, and so is the mailbox behind its lock. Every variable is touched
    // on the loop thread only, or before that thread starts and after it was joined.

    enum Note {
        case wake(Exchange)
        case end(Exchange, ExchangeRecord.Outcome)
        case call(@Sendable () -> Void)
    }

    enum Stage {
        case serving
        case notAccepting
        case draining(until: UInt64)
    }

    private struct Mailbox {
        var notes: [Note] = []
        var stage = Stage.serving
        var hasNews = false
        var isClosed = false
    }

    let configuration: Server.Configuration
    /// What new connections speak TLS with.
    let identity: ServerIdentity
    let bodyMemory: BodyMemory
    /// The application, until the loop has ended.
    private(set) var handler: any Handler
    /// How long a request may take to arrive, and the next one to begin.
    let requestNanoseconds: UInt64
    let idleNanoseconds: UInt64

    private let mailbox = Mutex(Mailbox())
    private let thread = Atomic<UInt>(0)
    private let epoll: FileDescriptor
    private let bell: FileDescriptor
    /// Where the kernel puts what has happened.
    private let events = UnsafeMutablePointer<cmicrohttpd_event>.allocate(
        capacity: cmicrohttpd_event_capacity)

    private var daemons: [Daemon] = []
    private var reception: Reception?
    /// The connection that is being handed to a daemon.
    private var arriving: (Daemon, Arrival)?
    private var links: [Link] = []
    /// Connections whose client sends no more, to be looked at once their daemon has run.
    private var ending: [Link] = []
    private var notes: [Note] = []
    private var sweepAt: UInt64 = 0
    private let sweepNanoseconds: UInt64
    private var suspended = 0
    /// Answers to be used again.
    let stock = ResponseStock()
    /// Memory for large bodies.
    let bodies: BodyStock
    private var isAccepting = true
    /// What comes in while a daemon runs.
    private(set) var batch = Batch.onNewThread()
    /// What happened while a daemon ran.
    private var steps = 0
    private var pieces = 0

    /// Whether answers are the last of their connections.
    private(set) var isDraining = false
    /// Whether everything is being closed, so that nothing may be suspended.
    private(set) var isClosing = false

    init?(
        configuration: Server.Configuration, identity: ServerIdentity, bodyMemory: BodyMemory,
        handler: any Handler
    ) {
        self.configuration = configuration
        self.identity = identity
        self.bodyMemory = bodyMemory
        bodies = BodyStock(within: bodyMemory)
        self.handler = handler
        requestNanoseconds = configuration.requestTimeout.wholeNanoseconds
        idleNanoseconds = configuration.idleTimeout.wholeNanoseconds
        sweepNanoseconds = min(max(requestNanoseconds / 4, 10_000_000), 1_000_000_000)
        guard let epoll = FileDescriptor(epoll_create1(CInt(EPOLL_CLOEXEC))),
            let bell = FileDescriptor(
                eventfd(0, CInt(EFD_CLOEXEC | EFD_NONBLOCK)))
        else { return nil }
        self.epoll = epoll
        self.bell = bell
        let added = cmicrohttpd_epoll_add(
            epoll.rawValue, bell.rawValue, cmicrohttpd_readable, Loop.bellToken)
        guard added == 0 else { return nil }
    }

    /// How long a client may take to take an answer of so many bytes.
    func answerNanoseconds(_ byteCount: Int) -> UInt64 {
        let seconds = UInt64(byteCount / max(configuration.minimumRate, 1))
        return requestNanoseconds &+ min(seconds, 1 << 32) * 1_000_000_000
    }

    deinit { unsafe events.deallocate() }

    // MARK: From any thread

    /// Whether the caller runs on the loop thread.
    var isCurrent: Bool { thread.load(ordering: .relaxed) == UInt(pthread_self()) }

    /// Leaves a note for the loop.
    func post(_ note: Note) {
        ring { $0.notes.append(note) }
    }

    /// Has the loop go over to another stage.
    func enter(_ stage: Stage) {
        ring { $0.stage = stage }
    }

    private func ring(_ change: (inout Mailbox) -> Void) {
        let isFirst = mailbox.withLock { box in
            guard !box.isClosed else { return false }
            change(&box)
            defer { box.hasNews = true }
            return !box.hasNews
        }
        // The loop looks into the mailbox before it sleeps, so its own notes need no bell.
        guard isFirst, !isCurrent else { return }
        var one: UInt64 = 1
        _ = unsafe write(bell.rawValue, &one, MemoryLayout<UInt64>.size)
    }

    // MARK: Before the thread starts

    /// Prepares to serve the clients of some listening sockets.
    ///
    /// - Returns: Whether the system had what that takes.
    func listen(on listeners: [Listener], _ admission: Admission) -> Bool {
        guard let daemon = Daemon(loop: self) else { return false }
        daemons.append(daemon)
        if let security = configuration.security {
            guard let secure = Daemon(loop: self, security: security) else { return false }
            daemons.append(secure)
        }
        let isWatched = zip(Loop.firstDaemonToken..., daemons).allSatisfy { token, daemon in
            cmicrohttpd_epoll_add(epoll.rawValue, daemon.epoll, cmicrohttpd_readable, token) == 0
        }
        let reception = Reception(
            listeners, admission: admission, epoll: epoll.rawValue,
            firstToken: Loop.firstListenerToken, configuration: configuration)
        self.reception = reception
        return isWatched && reception.open()
    }

    /// Stops the daemons of a loop whose thread never started.
    func dismantle() {
        for daemon in daemons { daemon.stop() }
        daemons = []
        reception = nil
    }

    // MARK: The thread

    /// Serves until the mailbox says to stop.
    func run() {
        thread.store(UInt(pthread_self()), ordering: .relaxed)
        var deadline: UInt64?
        while true {
            wait(until: deadline)
            if let end = readMail() { deadline = end }
            for daemon in daemons where daemon.mustRun { run(daemon) }
            closeEnded()
            let now = monotonicNanoseconds()
            sweep(now)
            if let deadline, now >= deadline || !hasWork { break }
        }
        close()
        thread.store(0, ordering: .relaxed)
    }

    /// Runs a daemon, and again while nothing but pieces of bodies came in by it.
    ///
    /// libmicrohttpd reads one piece of a body a turn. Nothing else waits for longer than a few.
    private func run(_ daemon: Daemon) {
        steps = 0
        pieces = 0
        repeat {
            batch = batch.next
            daemon.run()
        } while pieces == steps && 1..<Self.pieceLimit ~= pieces
            && daemon.timeout == 0
    }

    /// Notes that a request has got on, by a piece of its body or otherwise.
    func noteStep(isPiece: Bool) {
        steps += 1
        if isPiece { pieces += 1 }
    }

    private static let pieceLimit = 32

    // Numbers that are no addresses of links.
    private static let bellToken: UInt64 = 0
    private static let firstDaemonToken: UInt64 = 1
    private static let firstListenerToken: UInt64 = 16
    private static let lastToken: UInt64 = 4095

    private func wait(until deadline: UInt64?) {
        var milliseconds = -1
        func atMost(_ limit: Int) {
            if milliseconds < 0 || limit < milliseconds { milliseconds = max(limit, 0) }
        }
        for daemon in daemons {
            guard let timeout = daemon.timeout else { continue }
            atMost(timeout)
            if timeout == 0 { daemon.mustRun = true }
        }
        if daemons.contains(where: \.mustRun) { milliseconds = 0 }
        if !links.isEmpty || reception?.isPausing == true || bodies.isInUse {
            atMost(Int(sweepNanoseconds / 1_000_000))
        }
        if let deadline {
            let now = monotonicNanoseconds()
            atMost(deadline > now ? Int(min((deadline - now) / 1_000_000 + 1, 1000)) : 0)
        }
        if mailbox.withLock({ $0.hasNews }) { milliseconds = 0 }
        let count = unsafe cmicrohttpd_epoll_wait(
            epoll.rawValue, events, CInt(clamping: milliseconds))
        if count == 0 { for daemon in daemons { daemon.mustRun = true } }
        for index in 0..<max(Int(count), 0) {
            handle(unsafe events[index].token)
        }
    }

    private func handle(_ token: UInt64) {
        switch token {
        case Loop.bellToken:
            var count: UInt64 = 0
            _ = unsafe read(bell.rawValue, &count, MemoryLayout<UInt64>.size)
        case Loop.firstDaemonToken..<Loop.firstListenerToken:
            daemons[Int(token - Loop.firstDaemonToken)].mustRun = true
        case Loop.firstListenerToken...Loop.lastToken:
            if isAccepting { reception?.accept(at: token, welcome: welcome) }
        default:
            // A link is watched until libmicrohttpd closes it, and nothing is freed between two
            // events.
            guard let opaque = unsafe UnsafeRawPointer(bitPattern: UInt(token)) else { return }
            let link = unsafe Unmanaged<Link>.fromOpaque(opaque).takeUnretainedValue()
            link.daemon.mustRun = true
            guard !link.hasSentAll else { return }
            link.hasSentAll = true
            close(whenReadToEnd: link)
            guard let exchange = link.exchange, exchange.isSuspended, !exchange.isYielding else {
                return
            }
            exchange.end(.clientGone)
        }
    }

    /// Does what the notes ask for.
    ///
    /// - Returns: When to stop, once that has been asked for.
    private func readMail() -> UInt64? {
        let stage = mailbox.withLock { box -> Stage? in
            guard box.hasNews else { return nil }
            box.hasNews = false
            swap(&box.notes, &notes)
            return box.stage
        }
        guard let stage else { return nil }
        for note in notes {
            switch note {
            case .wake(let exchange):
                exchange.resume()
                exchange.link.daemon.mustRun = true
            case .end(let exchange, let outcome):
                exchange.end(outcome)
                exchange.link.daemon.mustRun = true
            case .call(let action):
                action()
            }
        }
        notes.removeAll(keepingCapacity: notes.count <= 1024)
        switch stage {
        case .serving:
            return nil
        case .notAccepting:
            quiesce()
            return nil
        case .draining(let deadline):
            quiesce()
            isDraining = true
            return deadline
        }
    }

    private func quiesce() {
        guard isAccepting else { return }
        isAccepting = false
        reception?.close()
    }

    /// Whether an answer is still to be given or on its way.
    private var hasWork: Bool { links.contains { $0.exchange?.isInFlight ?? false } }

    /// Gives up on clients that take too long.
    private func sweep(_ now: UInt64) {
        guard now >= sweepAt else { return }
        sweepAt = now + sweepNanoseconds
        reception?.resume()
        bodies.trim()
        for link in links where link.deadline <= now {
            link.deadline = .max
            link.isOverdue = true
            _ = shutdown(link.descriptor, CInt(SHUT_RDWR))
            link.daemon.mustRun = true
        }
    }

    /// Gives up on requests that will never be whole.
    ///
    /// libmicrohttpd does not see the end of what a client sends when it comes together with the
    /// last bytes.
    private func closeEnded() {
        guard !ending.isEmpty else { return }
        ending.removeAll { link in
            // Whoever is being answered is looked at again when the answer is out.
            if link.isClosed || link.isAnswering { return true }
            guard link.isReadToEnd else { return false }
            link.exchange?.end(.clientGone)
            _ = shutdown(link.descriptor, CInt(SHUT_RDWR))
            link.daemon.mustRun = true
            return true
        }
    }

    /// Closes every connection, for libmicrohttpd must not be stopped while one is suspended.
    private func close() {
        isClosing = true
        isDraining = true
        repeat {
            for link in links {
                link.exchange?.end(.shutdown)
            }
            _ = readMail()
            for daemon in daemons { daemon.run() }
        } while suspended > 0
        for daemon in daemons { daemon.stop() }
        daemons = []
        quiesce()
        reception = nil
        bodies.close()
        // Links keep their loop, so it must not keep them.
        ending = []
        // Who answers too late may still leave a note, which would keep this loop alive.
        notes = mailbox.withLock { box in
            box.isClosed = true
            return box.notes
        }
        mailbox.withLock { $0.notes = [] }
        notes = []
        // An application that keeps exchanges would otherwise be kept by them.
        handler = NoHandler()
    }

    // MARK: Connections

    private func welcome(
        _ socket: CInt, _ address: inout sockaddr_storage, _ arrival: Arrival
    ) -> Bool {
        // The second one speaks TLS, if there is one.
        let daemon = daemons[arrival.peer.isOverUnixSocket ? 0 : daemons.count - 1]
        arriving = (daemon, arrival)
        daemon.add(socket, &address)
        // Still there if memory ran out before the daemon could tell of it.
        return takeArriving() == nil
    }

    /// The connection that a daemon tells of.
    func takeArriving() -> (Daemon, Arrival)? {
        defer { arriving = nil }
        return arriving
    }

    func add(_ link: Link) {
        link.index = links.count
        links.append(link)
        let token = unsafe UInt64(UInt(bitPattern: Unmanaged.passUnretained(link).toOpaque()))
        _ = cmicrohttpd_epoll_add(epoll.rawValue, link.descriptor, cmicrohttpd_hang_up, token)
    }

    func remove(_ link: Link) {
        link.isClosed = true
        _ = cmicrohttpd_epoll_remove(epoll.rawValue, link.descriptor)
        reception?.forget(link.arrival)
        guard let last = links.popLast(), last !== link else { return }
        last.index = link.index
        links[link.index] = last
    }

    /// Closes a connection whose client sends no more, unless a whole request is left to answer.
    func close(whenReadToEnd link: Link) { ending.append(link) }

    /// Counts a connection that waits; a client that sends no more is not waited with.
    func willSuspend(_ exchange: Exchange) {
        suspended += 1
        guard exchange.link.hasSentAll, !exchange.isYielding else { return }
        post(.end(exchange, .clientGone))
    }

    func didResume() { suspended -= 1 }

    /// Whether a request that ended badly did so because the client is not there any more.
    func isConnectionLost(_ descriptor: CInt, after code: MHD_RequestTerminationCode) -> Bool {
        code == .REQUEST_TERMINATED_WITH_ERROR && cmicrohttpd_is_hung_up(descriptor) != 0
    }
}

/// What a loop that has ended holds on to.
private final class NoHandler: Handler {
    func receive(_ exchange: Exchange) -> Plan { .refuse(Response(status: 503)) }
}

extension Duration {
    /// The duration in nanoseconds, at least none and short of what would overflow a deadline.
    var wholeNanoseconds: UInt64 {
        let (seconds, attoseconds) = components
        guard seconds >= 0, attoseconds >= 0 else { return 0 }
        return UInt64(min(seconds, 1 << 32)) * 1_000_000_000 + UInt64(attoseconds / 1_000_000_000)
    }
}
