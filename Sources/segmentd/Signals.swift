import Glibc

/// The signals that the program answers, kept from every thread until someone asks for them: two
/// that stop it, and one by which it reads its files again.
struct Signals {
    private let set: sigset_t

    /// Blocks the signals in this thread and in all that it starts, so it comes before any other.
    ///
    /// Also sees to the signals that would only be in the way: a client or a log reader that has
    /// left is told by an error number, and a process that the kernel hands to us because we are
    /// the first of a container is buried by the kernel.
    static func block() -> Signals {
        signal(SIGPIPE, SIG_IGN)
        signal(SIGCHLD, SIG_IGN)
        var set = sigset_t()
        unsafe sigemptyset(&set)
        for number in names.keys { unsafe sigaddset(&set, number) }
        unsafe sigaddset(&set, SIGHUP)
        unsafe pthread_sigmask(SIG_BLOCK, &set, nil)
        return Signals(set: set)
    }

    /// Waits for a signal to stop.
    ///
    /// - Parameter reload: Called for each signal to read the files again.
    /// - Returns: The name of the signal that came.
    func wait(reload: () -> Void) -> String {
        var set = set
        while true {
            var number: CInt = 0
            guard unsafe sigwait(&set, &number) == 0 else { continue }
            guard number == SIGHUP else { return Self.names[number] ?? "\(number)" }
            reload()
        }
    }

    /// Has the next signal end the process at once, with the status a shell gives to a signal.
    func exitOnNext() {
        // A handler, for the first process of a container has no other way to die of these.
        for number in Self.names.keys { signal(number) { _exit(128 + $0) } }
        signal(SIGHUP, SIG_IGN)
        var set = set
        unsafe pthread_sigmask(SIG_UNBLOCK, &set, nil)
    }

    private static let names = [SIGTERM: "SIGTERM", SIGINT: "SIGINT"]
}
