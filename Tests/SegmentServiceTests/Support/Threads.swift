import Glibc
import SharedMemory
import Synchronization
import Testing

/// Runs work on several threads at once and waits for them all.
func runThreads(_ count: Int, _ work: @escaping @Sendable (Int) -> Void) {
    final class Job: Sendable {
        let number: Int
        let work: @Sendable (Int) -> Void
        init(_ number: Int, _ work: @escaping @Sendable (Int) -> Void) {
            self.number = number
            self.work = work
        }
    }
    var threads: [pthread_t] = []
    for number in 0..<count {
        var thread = pthread_t()
        let job = Unmanaged.passRetained(Job(number, work))
        pthread_create(
            &thread, nil,
            { argument in
                guard let argument else { return nil }
                let job = Unmanaged<Job>.fromOpaque(argument).takeRetainedValue()
                job.work(job.number)
                return nil
            }, job.toOpaque())
        threads.append(thread)
    }
    for thread in threads { pthread_join(thread, nil) }
}

/// Values that come from other threads.
final class Reports<Value: Sendable>: Sendable {
    private let values = Mutex<[Value]>([])

    func add(_ value: Value) { values.withLock { $0.append(value) } }

    var all: [Value] { values.withLock { $0 } }

    var count: Int { values.withLock { $0.count } }

    /// Waits until so many values have come.
    @discardableResult
    func wait(
        count: Int = 1, sourceLocation: SourceLocation = #_sourceLocation
    ) throws -> [Value] {
        try eventually("\(count) reports", sourceLocation: sourceLocation) { self.count >= count }
        return all
    }
}

/// Waits for a condition, and says so when it does not come.
func eventually(
    within milliseconds: Int64 = 20_000, _ claim: Comment,
    sourceLocation: SourceLocation = #_sourceLocation, _ condition: () throws -> Bool
) throws {
    let deadline = MonotonicInstant.now.advanced(byMilliseconds: milliseconds)
    while !(try condition()) {
        try #require(MonotonicInstant.now < deadline, claim, sourceLocation: sourceLocation)
        usleep(500)
    }
}

/// The same random numbers for the same seed.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var word = state
        word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
        word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
        return word ^ (word >> 31)
    }
}
