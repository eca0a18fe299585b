internal import CMicroHTTPD
internal import Glibc
internal import Synchronization

/// An HTTP/1.1 server.
///
/// ```swift
/// final class Hello: Handler {
///     func receive(_ exchange: Exchange) -> Plan {
///         .respond(Response(status: 200, content: .bytes(Array("hello\n".utf8))))
///     }
/// }
///
/// let endpoint = Endpoint.tcp(host: "127.0.0.1", port: 8080)
/// let server = try Server(configuration: .init(endpoints: [endpoint]), handler: Hello())
/// try server.start()
/// …
/// server.stop(within: .seconds(5))
/// ```
///
/// A few threads serve any number of connections; see ``Handler`` for what they call.
public final class Server: Sendable {
    private struct State {
        var listeners: [[Listener]]
        var loops: [Loop] = []
        var threads: [pthread_t] = []
        var isStarted = false
    }

    private let configuration: Configuration
    private let handler: any Handler
    private let admission: Admission
    private let identity: ServerIdentity
    private let bodyMemory: BodyMemory
    private let state: Mutex<State>

    /// Where the server listens, in the order of ``Configuration/endpoints``.
    ///
    /// Tells which port the kernel chose for port 0, and what an inherited socket is bound to.
    public let addresses: [Endpoint]

    /// The port of the first of ``addresses`` that has one, or 0 without.
    public var boundPort: UInt16 { addresses.lazy.compactMap(\.port).first ?? 0 }

    /// Opens the listening sockets; clients may connect, but nobody answers before ``start()``.
    ///
    /// - Parameters:
    ///   - configuration: Where to listen, and the limits.
    ///   - handler: The application.
    /// - Throws: ``ServerError`` when an endpoint cannot be listened on. No socket is left open.
    public init(configuration: Configuration, handler: any Handler) throws(ServerError) {
        self.configuration = configuration
        self.handler = handler
        var listeners: [[Listener]] = []
        for endpoint in configuration.endpoints {
            listeners.append(try Listener.open(endpoint, count: max(configuration.threads, 1)))
        }
        addresses = listeners.compactMap { $0.first?.address }
        admission = Admission(
            limit: max(1, configuration.connectionLimit),
            limitByOrigin: max(1, configuration.connectionLimitPerClient))
        identity = ServerIdentity(configuration.security)
        bodyMemory = BodyMemory(limit: configuration.bodyMemoryLimit)
        state = Mutex(State(listeners: listeners))
    }

    deinit { stop(within: .zero) }

    /// Starts to serve.
    ///
    /// - Throws: ``ServerError`` with code ``ServerError/Code/outOfResources`` when threads or
    ///   descriptors have run out, ``ServerError/Code/alreadyStarted`` the second time.
    public func start() throws(ServerError) {
        try state.withLock { state throws(ServerError) in
            guard !state.isStarted else {
                throw ServerError(.alreadyStarted, "A server can be started only once.")
            }
            state.isStarted = true
            let loops = try makeLoops(state.listeners)
            for (index, loop) in loops.enumerated() {
                guard let thread = spawn(loop) else {
                    for loop in loops[index...] { loop.dismantle() }
                    throw ServerError(.outOfResources, "Cannot start a thread.")
                }
                state.loops.append(loop)
                state.threads.append(thread)
            }
        }
    }

    /// Has connections speak TLS with another certificate from now on; those there are go on.
    ///
    /// A server that was configured without ``Configuration/security`` speaks none still.
    ///
    /// - Parameter security: What to speak it with.
    public func renew(_ security: TransportSecurity) { identity.replace(security) }

    /// Has an action called once every event loop has come round to it, by the last that does.
    ///
    /// A loop that hangs keeps it from being called, and so does a server that is stopped first.
    ///
    /// - Parameter action: What to do, on a loop thread; it must not block.
    public func whenEveryLoopHasComeBy(_ action: @escaping @Sendable () -> Void) {
        let loops = state.withLock { $0.loops }
        let missing = Missing(loops.count)
        for loop in loops {
            loop.post(
                .call {
                    let left = missing.count.subtract(1, ordering: .acquiringAndReleasing).newValue
                    if left == 0 { action() }
                })
        }
    }

    /// How many loops have yet to come by.
    private final class Missing: Sendable {
        let count: Atomic<Int>
        init(_ count: Int) { self.count = Atomic(count) }
    }

    /// Lets no more clients in; those who are in are served on.
    public func stopAccepting() {
        let (listeners, loops) = state.withLock { ($0.listeners.joined(), $0.loops) }
        for loop in loops { loop.enter(.notAccepting) }
        for listener in listeners { listener.shutDown() }
    }

    /// Stops the server, and returns when it has stopped.
    ///
    /// No more clients are let in. Answers that are owed may be given until the deadline; each is
    /// the last of its connection. Streams end as soon as they have nothing to send. Then all that
    /// is left is closed, and every exchange has been finished. Stopping again does nothing.
    ///
    /// Blocks the calling thread, which may not be a loop thread.
    ///
    /// - Parameter limit: How long to wait for answers.
    public func stop(within limit: Duration) {
        stopAccepting()
        let (loops, threads) = state.withLock { state in
            defer {
                state.loops = []
                state.threads = []
                state.listeners = []
                state.isStarted = true
            }
            return (state.loops, state.threads)
        }
        precondition(
            !loops.contains { $0.isCurrent }, "a server cannot be stopped by its own handler")
        let deadline = monotonicNanoseconds() &+ limit.wholeNanoseconds
        for loop in loops { loop.enter(.draining(until: deadline)) }
        for thread in threads { pthread_join(thread, nil) }
    }

    private func makeLoops(_ listeners: [[Listener]]) throws(ServerError) -> [Loop] {
        var loops: [Loop] = []
        for index in 0..<max(configuration.threads, 1) {
            let loop = Loop(
                configuration: configuration, identity: identity, bodyMemory: bodyMemory,
                handler: handler)
            if let loop { loops.append(loop) }
            let own = listeners.map { $0[min(index, $0.count - 1)] }
            guard let loop, loop.listen(on: own, admission) else {
                for loop in loops { loop.dismantle() }
                throw ServerError(.outOfResources, "Cannot set up an event loop.")
            }
        }
        return loops
    }

    /// Starts a thread that no signal interrupts, so that they all go to the application's own.
    private func spawn(_ loop: Loop) -> pthread_t? {
        var blocked = sigset_t()
        var previous = sigset_t()
        unsafe sigfillset(&blocked)
        for fault in [SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGABRT] {
            unsafe sigdelset(&blocked, fault)
        }
        unsafe pthread_sigmask(SIG_SETMASK, &blocked, &previous)
        defer { unsafe pthread_sigmask(SIG_SETMASK, &previous, nil) }
        var thread = pthread_t()
        let hold = unsafe Unmanaged.passRetained(loop)
        let result = unsafe pthread_create(&thread, nil, runLoop, hold.toOpaque())
        guard result == 0 else {
            unsafe hold.release()
            return nil
        }
        return thread
    }
}

private let runLoop: @convention(c) (UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? = {
    loop in
    guard let loop = unsafe loop else { return nil }
    unsafe cmicrohttpd_name_thread("microhttp")
    unsafe Unmanaged<Loop>.fromOpaque(loop).takeRetainedValue().run()
    return nil
}
