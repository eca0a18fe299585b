import Synchronization

/// Does what takes milliseconds of computing, so that the threads that serve need not.
///
/// One piece comes after the other, on a thread that lives as long as there is any: whoever asks
/// for much waits for themselves, and takes no more than one processor.
final class Background: Sendable {
    private struct State {
        var isRunning = false
        var work: [@Sendable () -> Void] = []
    }

    private let state = Mutex(State())

    /// Calls `work` on another thread, soon; before it returns, where there is no thread to be had.
    func run(_ work: @escaping @Sendable () -> Void) {
        let mustStart = state.withLock { state in
            state.work.append(work)
            defer { state.isRunning = true }
            return !state.isRunning
        }
        guard mustStart, !Thread.start({ self.drain() }) else { return }
        drain()
    }

    private func drain() {
        while true {
            let work = state.withLock { state in
                defer { state.work = [] }
                state.isRunning = !state.work.isEmpty
                return state.work
            }
            guard !work.isEmpty else { return }
            for piece in work { piece() }
        }
    }
}

extension SegmentService {
    /// Does what takes milliseconds of computing on another thread.
    ///
    /// Who maps the files of /dev/shm is found by reading a table for each process of the host.
    ///
    /// - Parameters:
    ///   - work: What to do.
    ///   - completion: Called with what came of it, from that thread.
    /// - Returns: The wait: what nobody waits for any more when its turn comes is not done.
    package func inBackground<Value: Sendable>(
        _ work: @escaping @Sendable () throws(ServiceError) -> Value,
        completion: @escaping @Sendable (Result<Value, ServiceError>) -> Void
    ) -> Wait {
        let flag = CancelFlag()
        background.run {
            guard !flag.isSet else { return }
            do throws(ServiceError) {
                completion(.success(try work()))
            } catch {
                completion(.failure(error))
            }
        }
        return Wait { flag.set() }
    }
}

private final class CancelFlag: Sendable {
    private let value = Atomic<Bool>(false)
    var isSet: Bool { value.load(ordering: .relaxed) }
    func set() { value.store(true, ordering: .relaxed) }
}
