import Glibc
import SharedMemory

/// Calls actions at instants of the monotonic clock, on a thread of its own.
///
/// The thread sleeps until the earliest instant; with nothing scheduled it sleeps for good.
/// Actions are short: they may take locks of this process and make system calls that do not block.
///
/// `@unchecked Sendable`: everything that changes is touched only while `mutex` is held.
@safe
final class Timer: @unchecked Sendable {
    /// What a scheduled action can be taken back by.
    struct Ticket: Hashable, Sendable { let number: UInt64 }

    private struct Entry: Comparable {
        let instant: MonotonicInstant
        let number: UInt64
        static func < (one: Entry, other: Entry) -> Bool {
            (one.instant, one.number) < (other.instant, other.number)
        }
    }

    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private let condition: UnsafeMutablePointer<pthread_cond_t>
    private var heap = Heap<Entry>()
    private var actions: [UInt64: @Sendable () -> Void] = [:]
    private var lastNumber: UInt64 = 0
    private var isStopping = false

    init() {
        unsafe mutex = .allocate(capacity: 1)
        unsafe condition = .allocate(capacity: 1)
        unsafe pthread_mutex_init(mutex, nil)
        var attributes = pthread_condattr_t()
        unsafe pthread_condattr_init(&attributes)
        unsafe pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
        unsafe pthread_cond_init(condition, &attributes)
        unsafe pthread_condattr_destroy(&attributes)
    }

    deinit {
        unsafe pthread_cond_destroy(condition)
        unsafe pthread_mutex_destroy(mutex)
        unsafe condition.deallocate()
        unsafe mutex.deallocate()
    }

    /// Starts the thread, which keeps the timer alive until ``stop()``.
    ///
    /// - Returns: Whether a thread was to be had.
    func start() -> Bool { Thread.start { self.run() } }

    /// Ends the thread; what is scheduled is not called any more.
    func stop() {
        locked { isStopping = true }
        unsafe pthread_cond_signal(condition)
    }

    /// Calls `action` at an instant, or as soon as possible after it; never, once it was stopped.
    @discardableResult
    func schedule(at instant: MonotonicInstant, _ action: @escaping @Sendable () -> Void) -> Ticket
    {
        let (ticket, isFirst) = locked { () -> (Ticket, Bool) in
            lastNumber += 1
            guard !isStopping else { return (Ticket(number: lastNumber), false) }
            actions[lastNumber] = action
            heap.insert(Entry(instant: instant, number: lastNumber))
            return (Ticket(number: lastNumber), heap.first?.number == lastNumber)
        }
        if isFirst { unsafe pthread_cond_signal(condition) }
        return ticket
    }

    /// Takes an action back; does nothing when it was called already.
    func cancel(_ ticket: Ticket) {
        // Let go of outside the lock: what it holds may be much.
        let action = locked { actions.removeValue(forKey: ticket.number) }
        _ = consume action
    }

    /// How many calls are to come.
    var scheduledCount: Int { locked { actions.count } }

    // Actions are called and let go of outside the lock: what they hold may use the timer as it ends.
    private func run() {
        while let action = nextAction() { action() }
        let rest = locked {
            defer { actions = [:] }
            return actions
        }
        _ = consume rest
    }

    /// Waits for the next action whose instant has come.
    ///
    /// - Returns: `nil` when the timer was stopped.
    private func nextAction() -> (@Sendable () -> Void)? {
        locked {
            while !isStopping {
                guard let next = heap.first else {
                    unsafe pthread_cond_wait(condition, mutex)
                    continue
                }
                if actions[next.number] == nil {
                    heap.removeFirst()
                    continue
                }
                guard next.instant <= .now else {
                    var time = timespec(
                        tv_sec: Int(next.instant.nanoseconds / 1_000_000_000),
                        tv_nsec: Int(next.instant.nanoseconds % 1_000_000_000))
                    unsafe pthread_cond_timedwait(condition, mutex, &time)
                    continue
                }
                heap.removeFirst()
                return actions.removeValue(forKey: next.number)
            }
            return nil
        }
    }

    private func locked<Result>(_ body: () -> Result) -> Result {
        unsafe pthread_mutex_lock(mutex)
        defer { unsafe pthread_mutex_unlock(mutex) }
        return body()
    }
}

/// A binary heap with the smallest element first.
struct Heap<Element: Comparable> {
    private var elements: [Element] = []

    var first: Element? { elements.first }

    mutating func insert(_ element: Element) {
        elements.append(element)
        var index = elements.count - 1
        while index > 0 {
            let parent = (index - 1) / 2
            guard elements[index] < elements[parent] else { return }
            elements.swapAt(index, parent)
            index = parent
        }
    }

    mutating func removeFirst() {
        guard let last = elements.popLast(), !elements.isEmpty else { return }
        elements[0] = last
        var index = 0
        while true {
            var smallest = index
            for child in [2 * index + 1, 2 * index + 2]
            where child < elements.count && elements[child] < elements[smallest] {
                smallest = child
            }
            guard smallest != index else { return }
            elements.swapAt(index, smallest)
            index = smallest
        }
    }
}
