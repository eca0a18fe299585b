internal import CMicroHTTPD
internal import Glibc

/// One of libmicrohttpd's daemons: the connections of one loop, which accepts them by itself.
@safe
final class Daemon {
    private let handle: OpaquePointer
    // The library reads the options for as long as the daemon lives.
    private let options: UnsafeMutablePointer<cmicrohttpd_options>

    /// Becomes readable when there is something to do.
    let epoll: CInt
    /// Whether it must run although its epoll descriptor may be silent.
    var mustRun = true

    /// - Parameters:
    ///   - loop: Whose thread runs it.
    ///   - security: What makes it speak TLS.
    init?(loop: Loop, security: TransportSecurity? = nil) {
        let configuration = loop.configuration
        unsafe options = .allocate(capacity: 1)
        unsafe options.initialize(to: cmicrohttpd_options())
        unsafe options.pointee.context = Unmanaged.passUnretained(loop).toOpaque()
        unsafe options.pointee.connection_timeout = CUnsignedInt(
            clamping: (configuration.idleTimeout + .nanoseconds(999_999_999)).components.seconds)
        unsafe options.pointee.connection_memory = max(configuration.connectionMemory, 1024)
        unsafe options.pointee.access = accessCallback
        unsafe options.pointee.completed = completedCallback
        unsafe options.pointee.connection = connectionCallback
        unsafe options.pointee.target = targetCallback
        unsafe options.pointee.log = logCallback
        unsafe options.pointee.certificate = Self.copy(security?.certificate)
        unsafe options.pointee.key = Self.copy(security?.key)
        unsafe options.pointee.authority = Self.copy(security?.clientAuthority)
        guard let handle = unsafe cmicrohttpd_start(options) else {
            unsafe Self.free(options)
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

    /// Takes over a socket, which is closed if that fails.
    func add(_ socket: CInt, _ address: inout sockaddr_storage) {
        mustRun = true
        let size = socklen_t(MemoryLayout<sockaddr_storage>.size)
        _ = unsafe withUnsafePointer(to: &address) { pointer in
            unsafe UnsafeRawPointer(pointer).withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe MHD_add_connection(handle, socket, $0, size)
            }
        }
    }

    /// Closes every connection, none of which may be suspended, and frees the daemon.
    func stop() {
        unsafe MHD_stop_daemon(handle)
        unsafe Self.free(options)
    }

    private static func copy(_ text: String?) -> UnsafePointer<CChar>? {
        unsafe text.flatMap { unsafe UnsafePointer(strdup($0)) }
    }

    private static func free(_ options: UnsafeMutablePointer<cmicrohttpd_options>) {
        unsafe Glibc.free(UnsafeMutablePointer(mutating: options.pointee.certificate))
        unsafe Glibc.free(UnsafeMutablePointer(mutating: options.pointee.key))
        unsafe Glibc.free(UnsafeMutablePointer(mutating: options.pointee.authority))
        unsafe options.deallocate()
    }
}
