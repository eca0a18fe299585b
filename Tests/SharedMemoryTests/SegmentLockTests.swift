import Glibc
import SharedMemory
import Testing

@Suite struct `A lock` {
    @Test(arguments: KeyKind.allCases)
    func `is held by one at a time`(kind: KeyKind) throws {
        try withTemporaryKey(kind) { key in
            let segment = try Segment.create(key, byteCount: 10)
            let one = try segment.requireLock()
            let two = SegmentLock(ofSegment: key)
            #expect(try one.isFree())
            #expect(try one.tryLock())
            #expect(one.isHeld && one.isIntact)
            #expect(try !two.isFree())
            #expect(try !two.tryLock())
            #expect(one.unlock())
            #expect(try two.tryLock())
            #expect(two.unlock())
            #expect(try one.isFree())
        }
    }

    @Test(arguments: KeyKind.allCases)
    func `is waited for until the instant given, and not much longer`(kind: KeyKind) throws {
        try withTemporaryKey(kind) { key in
            let segment = try Segment.create(key, byteCount: 10)
            let one = try segment.requireLock()
            #expect(try one.tryLock())
            let two = SegmentLock(ofSegment: key)
            let deadline = MonotonicInstant.now.advanced(byMilliseconds: 120)
            #expect(try two.lock(until: deadline) == false)
            #expect(MonotonicInstant.now >= deadline)
            #expect(MonotonicInstant.now < deadline.advanced(byMilliseconds: 2_000))
            one.unlock()
        }
    }

    @Test(arguments: KeyKind.allCases)
    func `goes to a waiter when it is given back`(kind: KeyKind) throws {
        try withTemporaryKey(kind) { key in
            let segment = try Segment.create(key, byteCount: 10)
            let one = try segment.requireLock()
            #expect(try one.tryLock())
            let waiter = Waiter(key)
            try require("the waiter waits") { one.hasWaiters }
            #expect(one.unlock())
            #expect(waiter.join())
        }
    }

    @Test(arguments: [KeyKind.posix, .legacyPOSIX])
    func `replaced under its holder is noticed, and a waiter takes the new one`(kind: KeyKind)
        throws
    {
        try withTemporaryKey(kind) { key in
            let segment = try Segment.create(key, byteCount: 10)
            let one = try segment.requireLock()
            #expect(try one.tryLock())
            let waiter = Waiter(key)
            try require("the waiter waits") { one.hasWaiters }
            // What Qt's create() does to a key that exists.
            unlink("/dev/shm/sem.\(key.semaphoreKey.posixName)")
            #expect(waiter.join())
            #expect(!one.isIntact)
            #expect(one.unlock() == false)
            #expect(try one.tryLock())
            #expect(one.unlock())
        }
    }

    @Test(arguments: [KeyKind.systemV, .legacy])
    func `reset under its holder is noticed, and not given back twice`(kind: KeyKind) throws {
        try withTemporaryKey(kind) { key in
            let segment = try Segment.create(key, byteCount: 10)
            let one = try segment.requireLock()
            #expect(try one.tryLock())
            // What Qt's create() does to a key that exists.
            try setValue(of: key.semaphoreKey, to: 1)
            #expect(!one.isIntact)
            let child = try Child(locking: key)
            try require("the child has it") { SegmentLock(ofSegment: key).isTaken }
            #expect(one.unlock() == false)
            #expect(try one.tryLock() == false, "only one holder after a reset")
            child.kill()
        }
    }

    @Test(arguments: KeyKind.allCases)
    func `of a process that died is given back`(kind: KeyKind) throws {
        try withTemporaryKey(kind) { key in
            let segment = try Segment.create(key, byteCount: 10)
            let lock = try segment.requireLock()
            let child = try Child(locking: key)
            try require("the child has it") { (try? lock.isFree()) == false }
            child.kill()
            try require("the lock is free again") { (try? lock.isFree()) == true }
            #expect(try lock.tryLock())
            lock.unlock()
        }
    }

    @Test(arguments: KeyKind.allCases)
    func `can be broken`(kind: KeyKind) throws {
        try withTemporaryKey(kind) { key in
            let segment = try Segment.create(key, byteCount: 10)
            let lock = try segment.requireLock()
            let other = SegmentLock(ofSegment: key)
            #expect(try other.tryLock())
            try lock.breakLock()
            #expect(try lock.tryLock())
            #expect(try other.tryLock() == false)
            lock.unlock()
        }
    }

    @Test func `whose semaphore was truncated answers with an error, never with a fault`() throws {
        try withTemporaryKey(.posix) { key in
            let segment = try Segment.create(key, byteCount: 10)
            let lock = try segment.requireLock()
            #expect(try lock.tryLock())
            truncate("/dev/shm/sem.\(key.posixName)", 0)
            #expect(!lock.isIntact)
            #expect(lock.unlock() == false)
            #expect(throws: SegmentError.self) { _ = try lock.tryLock() }
            unlink("/dev/shm/sem.\(key.posixName)")
            #expect(try lock.tryLock())
        }
    }
}
