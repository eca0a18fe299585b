import Glibc

/// The signals that stop the program, kept from every thread until someone asks for them.
struct StopSignals {
    private let set: sigset_t

    /// Blocks the signals in this thread and in all that it starts, so it comes before any other.
    ///
    /// Also sees to the signals that would only be in the way: a client or a log reader that has
    /// left is told by an error number, and a process that the kernel hands to us because we are
    /// the first of a container is buried by the kernel.
    static func block() -> StopSignals {
        signal(SIGPIPE, SIG_IGN)
        signal(SIGCHLD, SIG_IGN)
        var set = sigset_t()
        unsafe sigemptyset(&set)
        for number in names.keys { unsafe sigaddset(&set, number) }
        unsafe pthread_sigmask(SIG_BLOCK, &set, nil)
        return StopSignals(set: set)
    }

    /// Waits for the first signal.
    ///
    /// - Returns: Its name.
    func wait() -> String {
        var set = set
        var number: CInt = 0
        while unsafe sigwait(&set, &number) != 0 {}
        return Self.names[number] ?? "\(number)"
    }

    /// Has the next signal end the process at once, with the status a shell gives to a signal.
    func exitOnNext() {
        // A handler, for the first process of a container has no other way to die of these.
        for number in Self.names.keys { signal(number) { _exit(128 + $0) } }
        var set = set
        unsafe pthread_sigmask(SIG_UNBLOCK, &set, nil)
    }

    private static let names = [SIGTERM: "SIGTERM", SIGINT: "SIGINT"]
}
