import Dispatch
import Foundation
import Glibc
import SharedMemory
import Synchronization
import Testing

/// Qt's producers and consumers, which answer each other through the memory.
@Suite struct tst_qsharedmemory_producerConsumer {
    @Test(arguments: KeyKind.ofQtTests, [AccessMode.readOnly, .readWrite])
    func `simpleProducerConsumer: two attachments of one process see each other's bytes at once`(
        kind: KeyKind, mode: AccessMode
    ) throws {
        try withTemporaryKey(kind) { key in
            let producer = try Segment.create(key, byteCount: 512)
            let consumer = try Segment.attach(key, mode: mode)
            #expect(producer.baseAddress != consumer.baseAddress)
            producer.withMutableBytes { written in
                for offset in 0..<512 {
                    let value = UInt8(truncatingIfNeeded: offset + 1)
                    written.storeBytes(of: value, toByteOffset: offset, as: UInt8.self)
                    let read = consumer.withBytes {
                        $0.unsafeLoad(fromByteOffset: offset, as: UInt8.self)
                    }
                    #expect(read == value)
                }
            }
            #expect(try consumer.detach() == false)
            #expect(try producer.detach())
        }
    }

    // Qt has to unlink the POSIX segment before it can create it again.
    @Test(arguments: KeyKind.ofQtTests)
    func `simpleDoubleProducerConsumer: what was detached can be created again`(kind: KeyKind)
        throws
    {
        try withTemporaryKey(kind) { key in
            #expect(try Segment.create(key, byteCount: 512).detach())
            let producer = try Segment.create(key, byteCount: 512)
            let consumer = try Segment.attach(key)
            try producer.write([1], at: 0)
            #expect(try consumer.read(at: 0, byteCount: 1) == [1])
        }
    }

    @Test(arguments: KeyKind.ofQtTests, [1, 5] as [UInt8])
    func `simpleThreadedProducerConsumer: threads take turns, the producer in one of its own`(
        kind: KeyKind, consumerCount: UInt8
    ) throws {
        try withTemporaryKey(kind) { key in
            let consumers = (0..<consumerCount).map { _ in TestThread { try consume(key) } }
            let producer = TestThread { try produce(key, rounds: 5, consumers: consumerCount) }
            #expect(producer.join() == 0)
            #expect(consumers.map { $0.join() }.reduce(0, +) == 5)
        }
    }

    @Test(arguments: KeyKind.ofQtTests, [1, 5] as [UInt8])
    func `simpleThreadedProducerConsumer: threads take turns with the test's own`(
        kind: KeyKind, consumerCount: UInt8
    ) throws {
        try withTemporaryKey(kind) { key in
            let consumers = (0..<consumerCount).map { _ in TestThread { try consume(key) } }
            let left = try produce(key, rounds: 5, consumers: consumerCount)
            #expect(left == 0)
            #expect(consumers.map { $0.join() }.reduce(0, +) == 5)
        }
    }

    // Qt skips its own as unstable. The consumers know the C library's calls only.
    @Test(arguments: KeyKind.ofQtTests, [1, 5])
    func `simpleProcessProducerConsumer: processes take turns, and all end well`(
        kind: KeyKind, consumerCount: Int
    ) throws {
        try withTemporaryKey(kind) { key in
            let segment = try Segment.create(key, byteCount: 4)
            let consumers = try (0..<consumerCount).map { _ in try Peer(key, Self.consumer) }
            #expect(
                consumers.map { $0.line() } == Array(repeating: "attached", count: consumerCount))
            #expect(try produce(segment, rounds: 5, consumers: 0) == 0)
            #expect(consumers.compactMap { $0.line().flatMap { Int($0) } }.reduce(0, +) == 5)
            #expect(consumers.allSatisfy { $0.status() == 0 })
            #expect(try segment.detach())
        }
    }

    private static let consumer = """
        segment.attach()
        say('attached')
        rounds = 0
        while True:
            segment.lock()
            seen = segment.bytes[0]
            if seen == ord('Q'):
                rounds += 1
                segment.bytes[0] = rounds
            segment.unlock()
            if seen == ord('E'):
                break
            time.sleep(0.001)
        say(rounds)
        """
}

/// Asks by a `Q` for an answer, so many times, and ends the conversation with an `E`.
///
/// Stays until all consumers have come: with the last to go the segment would go, and a latecomer
/// look for it in vain.
///
/// - Returns: How many rounds are left: none.
private func produce(_ key: NativeKey, rounds: Int, consumers: UInt8) throws -> Int {
    try produce(try Segment.create(key, byteCount: 1024), rounds: rounds, consumers: consumers)
}

private func produce(_ segment: borrowing Segment, rounds: Int, consumers: UInt8) throws -> Int {
    let lock = try segment.requireLock()
    var left = rounds
    var isWaiting = false
    while left > 0 || isWaiting {
        try withLock(lock) {
            isWaiting = try segment.read(at: 0, byteCount: 1) == [UInt8(ascii: "Q")]
            guard !isWaiting, left > 0 else { return }
            try segment.write([UInt8(ascii: "Q")], at: 0)
            left -= 1
            isWaiting = true
        }
        usleep(1_000)
    }
    try withLock(lock) { try segment.write([UInt8(ascii: "E")], at: 0) }
    try require("all consumers have come") {
        (try? segment.read(at: 1, byteCount: 1)) == [consumers]
    }
    return left
}

/// Attaches as soon as there is something, and answers every `Q` until there is an `E`.
///
/// - Returns: How many it answered.
private func consume(_ key: NativeKey) throws -> Int {
    let deadline = MonotonicInstant.now.advanced(byMilliseconds: 10_000)
    while true {
        do throws(SegmentError) {
            let segment = try Segment.attach(key)
            return try answer(segment)
        } catch {
            // The only errors that Qt's test lets pass.
            guard error.code == .notFound || error.code == .keyError,
                MonotonicInstant.now < deadline
            else { throw error }
            usleep(1_000)
        }
    }
}

private func answer(_ segment: borrowing Segment) throws(SegmentError) -> Int {
    guard let lock = segment.lock else { return 0 }
    var rounds = 0
    _ = try lock.lock(until: .now.advanced(byMilliseconds: 10_000))
    try segment.write([try segment.read(at: 1, byteCount: 1)[0] + 1], at: 1)
    lock.unlock()
    while true {
        _ = try lock.lock(until: .now.advanced(byMilliseconds: 10_000))
        let seen = try segment.read(at: 0, byteCount: 1)
        if seen == [UInt8(ascii: "Q")] {
            rounds += 1
            try segment.write([UInt8(rounds)], at: 0)
        }
        lock.unlock()
        if seen == [UInt8(ascii: "E")] { return rounds }
        usleep(1_000)
    }
}

private func withLock(_ lock: SegmentLock, _ body: () throws -> Void) throws {
    try #require(try lock.lock(until: .now.advanced(byMilliseconds: 10_000)))
    defer { lock.unlock() }
    try body()
}

/// A thread that works out a number, and may fail.
final class TestThread: Sendable {
    private let done = DispatchSemaphore(value: 0)
    private let answer = Mutex(Int?.none)

    init(_ body: @escaping @Sendable () throws -> Int) {
        Thread.detachNewThread { [self] in
            do {
                let value = try body()
                answer.withLock { $0 = value }
            } catch { Issue.record(error) }
            done.signal()
        }
    }

    /// Waits for the end.
    ///
    /// - Returns: The number; -1 when the thread failed.
    func join() -> Int {
        done.wait()
        return answer.withLock { $0 } ?? -1
    }
}
