import Foundation
import Glibc
import SharedMemory
import Testing

/// The cases of Qt's test program for QSystemSemaphore that a lock can have.
///
/// A ``SegmentLock`` is a semaphore of one unit that begins free. It counts no further, nobody
/// gives back what he did not take, and there are no other beginnings. So these cases of Qt have
/// no counterpart: `complexacquire` (two units), `release` (none, and two given first),
/// `twoSemaphores` (one gives what the other takes), and the half of `initialValue` that asks for
/// two units.
@Suite struct tst_qsystemsemaphore {
    @Test(arguments: KeyKind.ofQtTests, ["", "one", "two", tst_qsharedmemory.odd])
    func `nativeKey: a lock has its segment's key`(kind: KeyKind, text: String) {
        let key = NativeKey(text, type: kind.key("x").type)
        #expect(SegmentLock(ofSegment: key).key == key)
    }

    @Test(arguments: KeyKind.ofQtTests, ["one", "two", tst_qsharedmemory.odd])
    func `legacyKey: a lock keeps the word, under a name of its own`(kind: KeyKind, word: String) {
        let keys = KeyPurpose.allCases.map {
            NativeKey.legacy(
                word, type: kind.key("x").type, for: $0, environment: .current())
        }
        #expect(SegmentLock(ofSegment: keys[0]).key == keys[1])
        #expect(isSame(SegmentLock(ofSegment: keys[0]).key.legacyKey ?? "", word))
    }

    @Test(arguments: KeyKind.ofQtTests, KeyKind.ofQtTests)
    func `changeKeyType: locks of one word and two types are two`(kind: KeyKind, other: KeyKind)
        throws
    {
        try withTemporaryKey(kind) { key in
            let lock = SegmentLock(ofSegment: key)
            try #require(try lock.tryLock())
            let changed = SegmentLock(ofSegment: other.key(lastComponent(key.value)))
            #expect(try changed.tryLock() == (kind != other))
            changed.unlock()
            if kind != other { changed.remove() }
            lock.remove()
        }
    }

    @Test(arguments: KeyKind.ofQtTests)
    func `basicacquire: is taken and given back, time and again`(kind: KeyKind) throws {
        try withTemporaryKey(kind) { key in
            let lock = SegmentLock(ofSegment: key)
            for _ in 1...3 {
                try #require(try lock.tryLock())
                #expect(lock.unlock())
            }
            #expect(!lock.unlock(), "what is not held is not given back")
            #expect(try lock.isFree())
            lock.remove()
        }
    }

    @Test(arguments: KeyKind.ofQtTests)
    func `basicProcesses: a process that is killed while it waits takes nothing with it`(
        kind: KeyKind
    ) throws {
        try withTemporaryKey(kind) { key in
            let lock = SegmentLock(ofSegment: key)
            try #require(try lock.tryLock())
            let killed = try Peer(key, "segment.lock()")
            try require("it waits") { lock.hasWaiters }
            killed.kill()
            let other = try Peer(
                key, "say('here'); segment.lock(); segment.unlock(); say('had it')")
            #expect(other.line() == "here")
            #expect(lock.unlock())
            #expect(other.line() == "had it")
            #expect(other.status() == 0)
            try #require(try lock.tryLock())
            lock.remove()
        }
    }

    @Test(arguments: KeyKind.ofQtTests, [1, 3, 10])
    func `processes: many take it and give it back, and all end well`(kind: KeyKind, count: Int)
        throws
    {
        try withTemporaryKey(kind) { key in
            let lock = SegmentLock(ofSegment: key)
            try #require(try lock.tryLock())
            let peers = try (0..<count).map { _ in
                try Peer(key, "segment.lock(); segment.unlock()")
            }
            #expect(lock.unlock())
            #expect(peers.allSatisfy { $0.status() == 0 })
            #expect(try lock.isFree())
            try #require(try lock.tryLock())
            lock.remove()
        }
    }

    // Qt has this for System V alone, where the kernel undoes it. Here it holds for POSIX too.
    @Test(arguments: KeyKind.ofQtTests)
    func `undo: what a process took and kept is free after its end`(kind: KeyKind) throws {
        try withTemporaryKey(kind) { key in
            let lock = SegmentLock(ofSegment: key)
            try #require(try lock.tryLock())
            #expect(lock.unlock())
            #expect(try Peer(key, "segment.lock()").status() == 0)
            #expect(try lock.lock(until: .now.advanced(byMilliseconds: 5_000)))
            lock.remove()
        }
    }

    @Test(arguments: KeyKind.ofQtTests)
    func `initialValue: a new lock is free, once`(kind: KeyKind) throws {
        try withTemporaryKey(kind) { key in
            let lock = SegmentLock(ofSegment: key)
            #expect(try lock.isFree())
            try #require(try lock.tryLock())
            #expect(try SegmentLock(ofSegment: key).tryLock() == false)
            lock.remove()
        }
    }
}
