internal import CSharedMemory
internal import Glibc
internal import Synchronization

/// Tells when processes have exited, by one thread for all of them that waits in the kernel.
final class ProcessWatcher: Sendable {
    /// What stands for a process that is watched.
    struct Key: Hashable {
        fileprivate let identity: BoundProcess.Identity?
        /// Tells those apart of which nothing is known; 0 for all others.
        fileprivate let number: UInt64
    }

    private struct Watch {
        let process: BoundProcess
        var sessions: Set<Session.ID>
    }

    private struct State {
        var watches: [Key: Watch] = [:]
        var lastNumber: UInt64 = 0
        var isStopped = false
    }

    private let state = Mutex(State())
    /// Rings when there is something new to wait for; -1 before the start.
    private let bell = Atomic<CInt>(-1)

    deinit { if bell.load(ordering: .relaxed) >= 0 { close(bell.load(ordering: .relaxed)) } }

    /// Starts the thread, which keeps the watcher alive until ``stop()``.
    ///
    /// - Parameter onExit: Called on that thread with each session whose process has exited.
    /// - Returns: Whether a thread was to be had.
    func start(_ onExit: @escaping @Sendable (Session.ID) -> Void) -> Bool {
        let descriptor = csharedmemory_eventfd()
        guard descriptor >= 0 else { return false }
        bell.store(descriptor, ordering: .relaxed)
        return Thread.start { self.run(onExit) }
    }

    /// Ends the thread.
    func stop() {
        state.withLock { $0.isStopped = true }
        ring()
    }

    /// Watches a process for a session.
    ///
    /// - Returns: What to call ``forget(_:for:)`` with.
    func watch(_ process: BoundProcess, for session: Session.ID) -> Key {
        let (key, isNew) = state.withLock { state in
            var number: UInt64 = 0
            if process.identity == nil {
                state.lastNumber += 1
                number = state.lastNumber
            }
            let key = Key(identity: process.identity, number: number)
            let isNew = state.watches[key] == nil
            state.watches[key, default: Watch(process: process, sessions: [])].sessions
                .insert(session)
            return (key, isNew)
        }
        if isNew { ring() }
        return key
    }

    /// Watches a process no more for a session that has ended.
    func forget(_ key: Key, for session: Session.ID) {
        let unwatched = state.withLock { state -> Watch? in
            state.watches[key]?.sessions.remove(session)
            guard state.watches[key]?.sessions.isEmpty == true else { return nil }
            return state.watches.removeValue(forKey: key)
        }
        guard unwatched != nil else { return }
        // The thread holds the descriptor too, and lets go of it when it looks again.
        ring()
    }

    private func ring() {
        var one: UInt64 = 1
        _ = unsafe write(bell.load(ordering: .relaxed), &one, MemoryLayout<UInt64>.size)
    }

    private func run(_ onExit: (Session.ID) -> Void) {
        let bell = bell.load(ordering: .relaxed)
        while true {
            let watched = state.withLock { state -> [(Key, BoundProcess)]? in
                guard !state.isStopped else {
                    state.watches = [:]
                    return nil
                }
                return state.watches.map { ($0.key, $0.value.process) }
            }
            guard let watched else { return }
            var entries = [pollfd(fd: bell, events: CShort(POLLIN), revents: 0)]
            for (_, process) in watched {
                entries.append(pollfd(fd: process.descriptor, events: CShort(POLLIN), revents: 0))
            }
            _ = unsafe poll(&entries, nfds_t(entries.count), -1)
            if entries[0].revents != 0 {
                var count: UInt64 = 0
                _ = unsafe read(bell, &count, MemoryLayout<UInt64>.size)
            }
            for (entry, (key, _)) in zip(entries.dropFirst(), watched) where entry.revents != 0 {
                let sessions = state.withLock { $0.watches.removeValue(forKey: key)?.sessions }
                for session in sessions ?? [] { onExit(session) }
            }
        }
    }
}
