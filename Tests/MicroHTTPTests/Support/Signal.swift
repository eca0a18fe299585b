import Glibc
import Synchronization

/// Values that other threads report, waited for with a deadline.
final class Signal<Value: Sendable>: Sendable {
    private let values = Mutex<[Value]>([])

    func report(_ value: Value) { values.withLock { $0.append(value) } }

    var all: [Value] { values.withLock { $0 } }

    /// Whether the caller is the first to ask.
    func claim() -> Bool where Value == Bool {
        values.withLock { values in
            defer { values.append(true) }
            return values.isEmpty
        }
    }

    /// Waits until `count` values have come.
    func wait(count: Int = 1) throws -> [Value] {
        for _ in 0..<20_000 {
            let values = all
            if values.count >= count { return values }
            usleep(1000)
        }
        throw Client.Failure(what: "only \(all.count) of \(count) reports in 20 s")
    }
}
