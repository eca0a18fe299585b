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
    package func inBackground<Value: Sendable>(
        _ work: @escaping @Sendable () throws(ServiceError) -> Value,
        completion: @escaping @Sendable (Result<Value, ServiceError>) -> Void
    ) {
        background.run {
            do throws(ServiceError) {
                completion(.success(try work()))
            } catch {
                completion(.failure(error))
            }
        }
    }
}
