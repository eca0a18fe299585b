import Glibc
import SharedMemory
import Synchronization
import Testing

@testable import SegmentService

@Suite struct BackgroundTests {
    /// What waits until it is let go on.
    private final class Latch: Sendable {
        private let descriptors: [CInt]
        init() {
            var pair: [CInt] = [0, 0]
            _ = pipe(&pair)
            descriptors = pair
        }
        deinit { for one in descriptors { close(one) } }
        func open() { _ = write(descriptors[1], [1], 1) }
        /// Whether it was opened within a minute.
        func wait() -> Bool {
            var entry = pollfd(fd: descriptors[0], events: Int16(POLLIN), revents: 0)
            return poll(&entry, 1, 60_000) == 1
        }
    }

    @Test func `whoever asks does not wait, and what was asked for is done in turn`() {
        let background = Background()
        let (latch, done) = (Latch(), Latch())
        let order = Mutex<[Int]>([])
        let caller = pthread_self()
        background.run {
            #expect(pthread_equal(pthread_self(), caller) == 0)
            #expect(latch.wait())
            order.withLock { $0.append(0) }
        }
        for number in 1...100 { background.run { order.withLock { $0.append(number) } } }
        background.run { done.open() }
        #expect(order.withLock { $0.isEmpty })
        latch.open()
        #expect(done.wait())
        #expect(order.withLock { $0 } == Array(0...100))
    }

    @Test func `it goes on after a rest`() {
        let background = Background()
        for _ in 0..<50 {
            let done = Latch()
            background.run { done.open() }
            #expect(done.wait())
        }
    }

    @Test func `what nobody waits for any more is not done`() {
        let service = SegmentService(configuration: .init(environment: .current()))
        let (busy, done) = (Latch(), Latch())
        let calls = Mutex<[Int]>([])
        _ = service.inBackground({ _ = busy.wait() }, completion: { _ in })
        let given = service.inBackground({ calls.withLock { $0.append(1) } }, completion: { _ in })
        _ = service.inBackground({ calls.withLock { $0.append(2) } }) { _ in done.open() }
        given.cancel()
        busy.open()
        #expect(done.wait())
        #expect(calls.withLock { $0 } == [2])
    }
}
