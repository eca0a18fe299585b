import Foundation
import Glibc
import SharedMemory
import Testing

/// The cases of Qt's test program for QSharedMemory, in the terms of this library.
///
/// What differs by design: there is no object without a segment, so Qt's "not attached, no data,
/// size 0" is a thrown error here, and "not attached any more" a value that was consumed. POSIX
/// segments are destroyed by the last to detach, as those of System V are, where Qt keeps them.
///
/// Without a counterpart: `attachTooMuch`, which Qt has disabled.
@Suite struct tst_qsharedmemory {
    static let odd = "o/d\\d & %?#=+~ \u{EB}\u{20AC}"

    // Qt: a fresh object has no data, no size and no error. Here an empty key gives no object.
    @Test(arguments: KeyKind.ofQtTests)
    func `constructor: an empty key is valid as a value, and names nothing`(kind: KeyKind) throws {
        let key = NativeKey("", type: kind.key("x").type)
        #expect(key.value.isEmpty)
        #expect(key.legacyKey == nil)
        #expect(throws: KeyIssue.empty(key)) { try key.validate() }
        #expect(throws: SegmentError.self) { _ = try Segment.attach(key) }
    }

    @Test(arguments: KeyKind.ofQtTests, ["", "one", "two", odd])
    func `nativeKey: is what was set, for one type and then for another`(
        kind: KeyKind, text: String
    ) {
        var key = NativeKey(text, type: kind.key("x").type)
        #expect(isSame(key.value, text))
        key.value = "two"
        #expect(key.value == "two")
        key.type = .windows
        #expect(key == NativeKey("two", type: .windows))
    }

    @Test(arguments: KeyKind.ofQtTests, ["", "one", "two", odd])
    func `legacyKey: gives the word back, until a native key replaces it`(
        kind: KeyKind, word: String
    ) {
        let type = kind.key("x").type
        var key = NativeKey.legacy(word, type: type, for: .memory, environment: .current())
        #expect(isSame(key.legacyKey ?? "", word))
        #expect(key.value.isEmpty == word.isEmpty)
        key.value = word
        #expect(key.legacyKey == nil)
        #expect(isSame(key.value, word))
    }

    // MARK: create and attach

    @Test(arguments: KeyKind.ofQtTests)
    func `create: without a key is a key error`(kind: KeyKind) {
        let key = NativeKey("", type: kind.key("x").type)
        expectFailure(.keyError) { _ = try Segment.create(key, byteCount: 1024) }
    }

    @Test(arguments: KeyKind.ofQtTests)
    func `create: of size -1 is refused`(kind: KeyKind) throws {
        try withTemporaryKey(kind) { key in
            expectFailure(.invalidSize) { _ = try Segment.create(key, byteCount: -1) }
        }
    }

    @Test(arguments: KeyKind.ofQtTests)
    func `create: makes a segment of the size asked for, and keeps the key`(kind: KeyKind) throws {
        try withTemporaryKey(kind) { key in
            let segment = try Segment.create(key, byteCount: 1024)
            #expect(segment.byteCount == 1024)
            #expect(segment.name == .key(key))
            #expect(try segment.detach())
        }
    }

    @Test(arguments: KeyKind.ofQtTests)
    func `create: of one that exists says so in words`(kind: KeyKind) throws {
        try withTemporaryKey(kind) { key in
            let segment = try Segment.create(key, byteCount: 1024)
            let error = #expect(throws: SegmentError.self) {
                _ = try Segment.create(key, byteCount: 1024)
            }
            #expect(error?.code == .alreadyExists)
            #expect(error?.description == "a segment \(key) exists already")
            #expect(try segment.detach())
        }
    }

    @Test(arguments: KeyKind.ofQtTests)
    func `attach: without a key is a key error`(kind: KeyKind) {
        let key = NativeKey("", type: kind.key("x").type)
        expectFailure(.keyError) { _ = try Segment.attach(key) }
    }

    @Test(arguments: KeyKind.ofQtTests)
    func `attach: to none says so in words`(kind: KeyKind) throws {
        try withTemporaryKey(kind) { key in
            let error = #expect(throws: SegmentError.self) { _ = try Segment.attach(key) }
            #expect(error?.code == .notFound)
            #expect(error?.description.hasPrefix("there is no segment \(key)") == true)
        }
    }

    @Test(arguments: KeyKind.ofQtTests)
    func `attach: to one that exists can be done again after a detach`(kind: KeyKind) throws {
        try withTemporaryKey(kind) { key in
            let creator = try Segment.create(key, byteCount: 1024)
            for _ in 1...2 {
                let segment = try Segment.attach(key)
                #expect(segment.byteCount == 1024)
                #expect(try segment.detach() == false)
            }
            #expect(try creator.detach())
        }
    }

    // Qt changes the type of an attached object, which detaches it; here the key is another key.
    @Test(arguments: KeyKind.ofQtTests, KeyKind.ofQtTests)
    func `changeKeyType: the same word names another segment in another type`(
        kind: KeyKind, other: KeyKind
    ) throws {
        try withTemporaryKey(kind) { key in
            let segment = try Segment.create(key, byteCount: 1024)
            let changed = other.key(lastComponent(key.value))
            let found = code { try Segment.attach(changed).detach() }
            #expect(found == (kind == other ? nil : .notFound))
            #expect(try segment.detach())
        }
    }

    // MARK: lock

    @Test(arguments: KeyKind.ofQtTests)
    func `lock: without a key is an error, and makes nothing`(kind: KeyKind) {
        let lock = SegmentLock(ofSegment: NativeKey("", type: kind.key("x").type))
        expectFailure(.keyError) { _ = try lock.tryLock() }
        #expect(!lock.isHeld)
        #expect(!FileManager.default.fileExists(atPath: "/dev/shm/sem."))
    }

    // Qt refuses to lock before create. Here a lock can be had as soon as it has a key, as Qt's
    // semaphore class has it; whoever made it removes it.
    @Test(arguments: KeyKind.ofQtTests)
    func `lock: before create makes the semaphore`(kind: KeyKind) throws {
        try withTemporaryKey(kind) { key in
            let lock = SegmentLock(ofSegment: key)
            #expect(!lock.exists)
            try #require(try lock.tryLock())
            lock.remove()
            #expect(!lock.exists)
        }
    }

    // Qt says true and prints a warning, and one unlock releases. Here a second lock is not had.
    @Test(arguments: KeyKind.ofQtTests)
    func `lock: does not nest, and one unlock releases`(kind: KeyKind) throws {
        try withTemporaryKey(kind) { key in
            let segment = try Segment.create(key, byteCount: 1024)
            let lock = try segment.requireLock()
            try #require(try lock.tryLock())
            #expect(try lock.tryLock() == false)
            #expect(lock.isHeld && lock.isIntact)
            #expect(lock.unlock())
            #expect(try SegmentLock(ofSegment: key).isFree())
        }
    }

    @Test(arguments: KeyKind.ofQtTests)
    func `lock: is given back by a segment that goes while it is held`(kind: KeyKind) throws {
        try withTemporaryKey(kind) { key in
            let stays = try Segment.create(key, byteCount: 1024)
            do {
                let goes = try Segment.attach(key)
                #expect(try goes.requireLock().tryLock())
            }
            #expect(try stays.requireLock().tryLock())
        }
    }

    // MARK: Lives

    // Qt needs an explicit unlink for POSIX; here the last to go is enough.
    @Test(arguments: KeyKind.ofQtTests)
    func `removeWhileAttached: with its holders gone, creator first, it is not found`(
        kind: KeyKind
    ) throws {
        try withTemporaryKey(kind) { key in
            let creator = try Segment.create(key, byteCount: 1024)
            let other = try Segment.attach(key)
            #expect(try creator.detach() == false)
            #expect(try other.detach() == true)
            expectFailure(.notFound) { _ = try Segment.attach(key) }
        }
    }

    @Test(arguments: KeyKind.ofQtTests)
    func `emptyMemory: what was created read-only reads as zeros`(kind: KeyKind) throws {
        try withTemporaryKey(kind) { key in
            let segment = try Segment.create(key, byteCount: 1024, mode: .readOnly)
            segment.withBytes { bytes in
                let isZero = (0..<1024).allSatisfy {
                    bytes.unsafeLoad(fromByteOffset: $0, as: UInt8.self) == 0
                }
                #expect(isZero)
            }
        }
    }

    // The library's own ways of writing are an error or a trap; this is the kernel's word.
    @Test(arguments: KeyKind.ofQtTests)
    func `readOnly: a process that stores into what it created read-only dies`(
        kind: KeyKind
    ) async throws {
        let text = kind.key("test-\(getpid())-\(UInt64.random(in: 0 ... .max))").text
        await #expect(processExitsWith: .signal(SIGSEGV)) { [text = text as String] in
            signal(SIGSEGV, SIG_DFL)
            let key = try #require(NativeKey(text: text))
            let segment = try Segment.create(key, byteCount: 1024, mode: .readOnly)
            segment.withBytes { bytes in
                bytes.withUnsafeBytes { UnsafeMutableRawBufferPointer(mutating: $0)[0] = 1 }
            }
        }
        try removeOrphan(try #require(NativeKey(text: text)))
    }

    // Qt creates 32 MiB segments until there is no more room. With the machine's memory shared by
    // whatever else runs, one segment that is larger than all there can be has to do.
    @Test(arguments: KeyKind.ofQtTests, [1 << 46, Int.max])
    func `useTooMuchMemory: what cannot be had is an error, and leaves nothing`(
        kind: KeyKind, byteCount: Int
    ) throws {
        try withTemporaryKey(kind) { key in
            let refused = code { _ = try Segment.create(key, byteCount: byteCount) }
            #expect([.outOfResources, .invalidSize].contains(refused))
            expectFailure(.notFound) { _ = try Segment.attach(key) }
        }
    }

    @Test(arguments: KeyKind.ofQtTests)
    func `uniqueKey: keys are equal exactly when the words are`(kind: KeyKind) {
        let words = ["", "key", "key1", "ke1y", "N\u{EB}l", "Nol"]
        for (one, other) in words.flatMap({ one in words.map { (one, $0) } }) {
            let type = kind.key("x").type
            let environment = KeyEnvironment.current()
            let platformSafe = [one, other].map {
                NativeKey.platformSafe($0, type: type, environment: environment)
            }
            #expect((platformSafe[0] == platformSafe[1]) == (one == other))
            let legacy = [one, other].map {
                NativeKey.legacy($0, type: type, for: .memory, environment: environment)
            }
            #expect((legacy[0].value == legacy[1].value) == (one == other))
        }
    }

    @Test(arguments: [KeyKind.legacy, .legacyPOSIX])
    func `createWithSameKey: fails again after one who attached has gone`(kind: KeyKind) throws {
        try withTemporaryKey(kind) { key in
            let first = try Segment.create(key, byteCount: 1024)
            for _ in 1...2 {
                expectFailure(.alreadyExists) { _ = try Segment.create(key, byteCount: 1024) }
                let other = try Segment.attach(key)
                #expect(other.byteCount == 1024)
            }
            #expect(try first.detach())
        }
    }
}
