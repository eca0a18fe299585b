import SharedMemory
import Synchronization

/// Lets the steps that change what is attached happen one at a time for each kernel address,
/// without holding a lock across their system calls and without making a thread wait.
///
/// A step that finds the address busy is left to the thread that is there, which runs it after
/// its own.
final class Gate: Sendable {
    typealias Step = @Sendable () -> Void

    private let waiting = Mutex<[KernelAddress: [Step]]>([:])

    /// Runs a step now, or leaves it to the thread that is busy with the address.
    func run(_ address: KernelAddress, _ step: @escaping Step) {
        let isMine = waiting.withLock { waiting in
            guard waiting[address] == nil else {
                waiting[address]?.append(step)
                return false
            }
            waiting[address] = []
            return true
        }
        guard isMine else { return }
        var next: Step? = step
        while let step = next {
            step()
            next = waiting.withLock { waiting in
                guard let first = waiting[address]?.first else {
                    waiting[address] = nil
                    return nil
                }
                waiting[address]?.removeFirst()
                return first
            }
        }
    }
}
