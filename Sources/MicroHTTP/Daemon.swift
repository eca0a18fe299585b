internal import CMicroHTTPD
internal import Glibc

/// One of libmicrohttpd's daemons: a listening socket and its connections on one loop.
@safe
final class Daemon {
    unowned let loop: Loop
    private let handle: OpaquePointer
    // The library uses its descriptor until the daemon is stopped.
    private let listener: Listener
    // The library reads the options for as long as the daemon lives.
    private let options: UnsafeMutablePointer<cmicrohttpd_options>

    /// Becomes readable when there is something to do.
    let epoll: CInt
    /// Whether it must run although its epoll descriptor may be silent.
    var mustRun = true

    init?(loop: Loop, listener: Listener, connectionLimit: Int) {
        self.loop = loop
        self.listener = listener
        let configuration = loop.configuration
        unsafe options = .allocate(capacity: 1)
        unsafe options.initialize(to: cmicrohttpd_options())
        unsafe options.pointee.context = Unmanaged.passUnretained(loop).toOpaque()
        unsafe options.pointee.listen_socket = listener.descriptor
        unsafe options.pointee.connection_limit = CUnsignedInt(clamping: connectionLimit)
        unsafe options.pointee.connection_timeout = CUnsignedInt(
            clamping: (configuration.idleTimeout + .nanoseconds(999_999_999)).components.seconds)
        unsafe options.pointee.connection_memory = max(configuration.connectionMemory, 1024)
        unsafe options.pointee.access = accessCallback
        unsafe options.pointee.completed = completedCallback
        unsafe options.pointee.connection = connectionCallback
        unsafe options.pointee.target = targetCallback
        unsafe options.pointee.log = logCallback
        guard let handle = unsafe cmicrohttpd_start(options) else {
            unsafe options.deallocate()
            return nil
        }
        unsafe self.handle = handle
        epoll = unsafe cmicrohttpd_epoll_descriptor(handle)
    }

    /// How many milliseconds it may be left alone, or nil for as long as nothing happens.
    var timeout: Int? {
        var milliseconds: CUnsignedLongLong = 0
        guard unsafe MHD_get_timeout(handle, &milliseconds) == .YES else { return nil }
        return Int(clamping: milliseconds)
    }

    func run() {
        mustRun = false
        unsafe MHD_run(handle)
    }

    /// Accepts no more connections; the listening socket stays with its owner.
    func quiesce() {
        unsafe MHD_quiesce_daemon(handle)
    }

    /// Closes every connection, none of which may be suspended, and frees the daemon.
    func stop() {
        unsafe MHD_stop_daemon(handle)
        unsafe options.deallocate()
    }
}
