import Glibc

/// Threads of our own, for work that waits in the kernel.
enum Thread {
    private final class Body: Sendable {
        let run: @Sendable () -> Void
        init(_ run: @escaping @Sendable () -> Void) { self.run = run }
    }

    /// Starts a detached thread with a small stack and every signal blocked, so that signals reach
    /// the thread that waits for them.
    ///
    /// - Returns: Whether the system had a thread to give.
    static func start(_ run: @escaping @Sendable () -> Void) -> Bool {
        let body = unsafe Unmanaged.passRetained(Body(run))
        var attributes = pthread_attr_t()
        unsafe pthread_attr_init(&attributes)
        unsafe pthread_attr_setdetachstate(&attributes, CInt(PTHREAD_CREATE_DETACHED))
        unsafe pthread_attr_setstacksize(&attributes, 256 * 1024)
        defer { unsafe pthread_attr_destroy(&attributes) }

        var all = sigset_t()
        var before = sigset_t()
        unsafe sigfillset(&all)
        unsafe sigdelset(&all, SIGBUS)
        unsafe sigdelset(&all, SIGSEGV)
        unsafe pthread_sigmask(SIG_BLOCK, &all, &before)
        defer { unsafe pthread_sigmask(SIG_SETMASK, &before, nil) }

        var thread = pthread_t()
        let number = unsafe pthread_create(
            &thread, &attributes,
            { argument in
                guard let argument = unsafe argument else { return nil }
                unsafe Unmanaged<Body>.fromOpaque(argument).takeRetainedValue().run()
                return nil
            }, body.toOpaque())
        if number != 0 { unsafe body.release() }
        return number == 0
    }
}
