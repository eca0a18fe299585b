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
            #expect(try SegmentLock(ofSegment: key).isFree())
            let maker = SegmentLock(ofSegment: key)
            #expect(try maker.tryLock())
            maker.unlock()
            #expect(waiter.join())
            #expect(!one.isIntact)
            #expect(one.unlock() == false)
            #expect(try one.tryLock())
            #expect(one.unlock())
        }
    }

    @Test(arguments: [KeyKind.posix, .legacyPOSIX])
    func `whose name is gone goes on among those who have it`(kind: KeyKind) throws {
        try withTemporaryKey(kind) { key in
            let segment = try Segment.create(key, byteCount: 10)
            let one = try segment.requireLock()
            #expect(try one.tryLock())
            let waiter = Waiter(key)
            try require("the waiter waits") { one.hasWaiters }
            // What a Qt object that made the semaphore does when it goes.
            unlink("/dev/shm/sem.\(key.semaphoreKey.posixName)")
            #expect(one.isIntact)
            #expect(one.unlock())
            #expect(waiter.join())
            #expect(try one.tryLock(), "and with nobody else left, by its name again")
            #expect(access("/dev/shm/sem.\(key.semaphoreKey.posixName)", F_OK) == 0)
            one.unlock()
        }
    }

    /// A holder that gives back after a reset leaves a unit too many, and the kernel takes one back when
    /// it exits, whoever has it then.
    @Test(arguments: [KeyKind.systemV, .legacy])
    func `is not lost when a process exits that gave back once too often`(kind: KeyKind) throws {
        try withTemporaryKey(kind) { key in
            let one = SegmentLock(ofSegment: key)
            let other = SegmentLock(ofSegment: key)
            #expect(try one.tryLock())
            one.unlock()
            let peer = try Peer(
                key,
                """
                segment.lock()
                semid = c.semget(c.ftok(segment.lock_path, segment.project), 1, 0)
                c.semctl(semid, 0, 16, 1)
                segment.unlock()
                say('two')
                hear()
                """)
            #expect(peer.line() == "two")
            #expect(try one.tryLock())
            #expect(try other.tryLock())
            #expect(peer.finish() == 0)
            other.unlock()
            one.unlock()
            #expect(try one.tryLock(), "nobody holds it")
            one.unlock()
            one.remove()
        }
    }

    @Test(arguments: [KeyKind.systemV, .legacy])
    func `set to the largest value there is does no harm`(kind: KeyKind) throws {
        try withTemporaryKey(kind) { key in
            let segment = try Segment.create(key, byteCount: 10)
            let one = try segment.requireLock()
            #expect(try one.tryLock())
            try setValue(of: key.semaphoreKey, to: 32_767)
            #expect(!one.isIntact)
            #expect(one.unlock() == false)
            #expect(try one.tryLock())
            #expect(one.unlock() == false, "it kept nobody out")
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
