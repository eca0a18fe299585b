import Glibc
import SharedMemory
import Synchronization
import Testing

@testable import SegmentService

@Suite struct `A timer` {
    private func withTimer(_ body: (Timer) throws -> Void) throws {
        let timer = Timer()
        try #require(timer.start())
        defer { timer.stop() }
        try body(timer)
    }

    /// Schedules while the timer is busy with something else, so that no instant passes meanwhile,
    /// however long it takes: what is scheduled after a later instant was called comes after that.
    private func whileBusy<Result>(_ timer: Timer, _ schedule: () -> Result) -> Result {
        let isScheduled = Reports<Bool>()
        timer.schedule(at: .now) { while isScheduled.count == 0 { usleep(200) } }
        defer { isScheduled.add(true) }
        return schedule()
    }

    @Test func `calls in the order of the instants, and of the calls where they are equal`() throws
    {
        try withTimer { timer in
            let order = Reports<Int>()
            let start = MonotonicInstant.now.advanced(byMilliseconds: 30)
            whileBusy(timer) {
                for (number, delay) in [(4, 20), (1, 0), (5, 30), (2, 0), (3, 10)]
                    as [(Int, Int64)]
                {
                    timer.schedule(at: start.advanced(byMilliseconds: delay)) {
                        order.add(number)
                    }
                }
            }
            let called = try order.wait(count: 5)
            #expect(called == [1, 2, 3, 4, 5])
        }
    }

    @Test func `never calls early, and soon afterwards`() throws {
        try withTimer { timer in
            let delays = Reports<Int64>()
            for number in 0..<50 {
                let instant = MonotonicInstant.now.advanced(byMilliseconds: Int64(number * 4))
                timer.schedule(at: instant) {
                    delays.add(MonotonicInstant.now.nanoseconds - instant.nanoseconds)
                }
            }
            let sorted = try delays.wait(count: 50).sorted()
            #expect(sorted[0] >= 0)
            #expect(sorted[25] < 50_000_000, "half of them within 50 ms")
        }
    }

    @Test func `an instant that passed is as good as now`() throws {
        try withTimer { timer in
            let calls = Reports<Bool>()
            timer.schedule(at: MonotonicInstant(nanoseconds: 0)) { calls.add(true) }
            try calls.wait()
        }
    }

    @Test func `an earlier instant is not held up by a later one that was there first`() throws {
        try withTimer { timer in
            let calls = Reports<Int>()
            timer.schedule(at: .now.advanced(byMilliseconds: 3_600_000)) { calls.add(2) }
            timer.schedule(at: .now.advanced(byMilliseconds: 5)) { calls.add(1) }
            let called = try calls.wait()
            #expect(called == [1])
        }
    }

    @Test func `does not call what was cancelled, and cancels more than once`() throws {
        try withTimer { timer in
            let calls = Reports<Int>()
            let start = MonotonicInstant.now.advanced(byMilliseconds: 50)
            let ticket = whileBusy(timer) {
                let ticket = timer.schedule(at: start) { calls.add(1) }
                timer.schedule(at: start) { calls.add(2) }
                timer.cancel(ticket)
                timer.cancel(ticket)
                return ticket
            }
            let called = try calls.wait()
            #expect(called == [2])
            timer.cancel(ticket)
            timer.schedule(at: .now) { calls.add(3) }
            let both = try calls.wait(count: 2)
            #expect(both == [2, 3])
        }
    }

    @Test func `calls nothing after it was stopped, and keeps nothing`() throws {
        final class Witness: Sendable {}
        let timer = Timer()
        try #require(timer.start())
        let calls = Reports<Bool>()
        weak var kept: Witness?
        do {
            let witness = Witness()
            kept = witness
            timer.schedule(at: .now.advanced(byMilliseconds: 40)) {
                withExtendedLifetime(witness) { calls.add(true) }
            }
        }
        #expect(kept != nil)
        timer.stop()
        try eventually("what was scheduled is let go of") { kept == nil }
        do {
            let witness = Witness()
            kept = witness
            timer.schedule(at: .now) { withExtendedLifetime(witness) { calls.add(true) } }
        }
        #expect(kept == nil, "a timer that stopped keeps what it is never going to call")
        usleep(60_000)
        #expect(calls.count == 0)
    }

    @Test func `what it lets go of may use the timer`() throws {
        final class User: Sendable {
            let timer: Timer
            let ended: Reports<Bool>
            init(_ timer: Timer, _ ended: Reports<Bool>) {
                self.timer = timer
                self.ended = ended
            }
            deinit {
                timer.schedule(at: .now) {}
                ended.add(true)
            }
        }
        let timer = Timer()
        try #require(timer.start())
        let ended = Reports<Bool>()
        func schedule(at instant: MonotonicInstant) {
            let user = User(timer, ended)
            timer.schedule(at: instant) { withExtendedLifetime(user) {} }
        }
        schedule(at: .now)
        try ended.wait(count: 1)
        schedule(at: .now.advanced(byMilliseconds: 3_600_000))
        timer.stop()
        try ended.wait(count: 2)
    }

    @Test func `calls 10,000 in order, but for those cancelled`() throws {
        try withTimer { timer in
            let order = Reports<Int>()
            let start = MonotonicInstant.now.advanced(byMilliseconds: 100)
            var numbers = Array(0..<10_000)
            var generator = SeededGenerator(seed: 7)
            numbers.shuffle(using: &generator)
            var tickets: [Int: Timer.Ticket] = [:]
            let cancelled = stride(from: 9_990, to: 9_999, by: 3)
            whileBusy(timer) {
                for number in numbers {
                    let instant = MonotonicInstant(
                        nanoseconds: start.nanoseconds + Int64(number) * 10_000)
                    tickets[number] = timer.schedule(at: instant) { order.add(number) }
                }
                for number in cancelled { tickets[number].map(timer.cancel) }
            }
            let expected = (0..<10_000).filter { number in !cancelled.contains(number) }
            let called = try order.wait(count: expected.count)
            #expect(called == expected)
        }
    }

    @Test func `takes from eight threads at once`() throws {
        try withTimer { timer in
            let calls = Reports<Int>()
            runThreads(8) { number in
                for round in 0..<500 {
                    let ticket = timer.schedule(at: .now) { calls.add(number * 500 + round) }
                    if round % 5 == 0 {
                        let other = timer.schedule(at: .distantFuture) { calls.add(-1) }
                        timer.cancel(other)
                    }
                    _ = ticket
                }
            }
            let called = try calls.wait(count: 4_000)
            #expect(called.sorted() == Array(0..<4_000))
        }
    }

    @Test func `a heap gives its elements from the smallest on`() {
        var heap = Heap<Int>()
        var generator = SeededGenerator(seed: 3)
        let numbers = (0..<500).map { _ in Int.random(in: 0..<100, using: &generator) }
        for number in numbers { heap.insert(number) }
        var sorted: [Int] = []
        while let first = heap.first {
            sorted.append(first)
            heap.removeFirst()
        }
        #expect(sorted == numbers.sorted())
        heap.removeFirst()
        #expect(heap.first == nil)
    }
}
