import Glibc
import SharedMemory
import Synchronization
import Testing

@testable import SegmentService

/// The words stored into a file, in order.
final class Stores: Sendable {
    let all = Mutex<[(index: Int, word: UInt64)]>([])

    func add(_ index: Int, _ words: [UInt64]) {
        all.withLock { all in
            for (offset, word) in words.enumerated() { all.append((index + offset, word)) }
        }
    }
}

/// Lends a test a path for a state file, and removes that.
func withStatePath<Result>(_ body: (String) throws -> Result) throws -> Result {
    let path = "\(temporaryFolder)/segmentd-state-test-\(UInt64.random(in: 0 ... .max))"
    defer { unlink(path) }
    return try body(path)
}

private var temporaryFolder: String { getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp" }

/// The words of a file.
func words(ofFile path: String) throws -> [UInt64] {
    try MappedFile(path, byteLimit: StateLayout.byteLimit).words()
}

extension SessionState {
    static func some(_ name: String?, timeToLive: Int64 = 60_000) -> SessionState {
        SessionState(
            id: .init(), name: name, binding: .connection, timeToLive: timeToLive,
            createdAt: .init(seconds: 1_700_000_000, nanoseconds: 123_456_789),
            expiresAt: .init(nanoseconds: 42_000_000_000))
    }
}

extension SegmentState {
    static func some(_ name: SegmentName, serial: UInt64 = 7) -> SegmentState {
        SegmentState(
            serial: serial, identity: .systemV(identifier: 65_538, key: -5),
            keyFile: .init(device: 9, inode: 10), byteCount: 4096, wasCreatedHere: true, name: name,
            semaphore: 12)
    }
}

private let longKey = NativeKey(
    "/tmp" + String(repeating: "/directory", count: 90), type: .systemV,
    legacyKey: "plain key \u{1F41A}")

@Suite struct StateStoreTests {
    @Test func `what was recorded is read back`() throws {
        try withStatePath { path in
            let session = SessionState.some("caf\u{E9} \u{1F41A}")
            let nameless = SessionState.some(nil)
            let segment = SegmentState.some(.key(longKey))
            let attachment = AttachmentState(
                session: session.id, segment: 7, mode: .readOnly, onLastDetach: .keep,
                attachedAt: .init(seconds: 5, nanoseconds: 6))
            let creation = CreationState(
                key: longKey,
                notes: .init(hadSegment: false, hadKeyFile: true, hadLockFile: false, file: nil))
            let holder = LockHolder(
                session: session.id, token: 99, acquiredAt: .init(seconds: 1, nanoseconds: 2))
            do {
                let store = try StateStore(path)
                store.commit(try store.prepare(session))
                store.commit(try store.prepare(nameless))
                let prepared = try store.prepare(segment)
                store.commit(prepared)
                store.setHolder(holder, of: prepared.slot)
                store.setFlags(.keep, nil, of: prepared.slot)
                store.write(attachment, at: try store.take(.attachment))
                let begun = try store.prepare(creation)
                store.commit(begun)
                store.note(.willName(.init(device: 3, inode: 4)), of: begun.slot)
                store.note(.madeSemaphore(65_539), of: begun.slot)
                store.note(1234)
                store.beat(.init(nanoseconds: 77))
            }
            let image = try #require(StateImage(words(ofFile: path)))
            #expect(image.damaged.isEmpty)
            #expect(image.sessions.map(\.1) == [session, nameless])
            #expect(image.attachments.map(\.1) == [attachment])
            let read = try #require(image.segments.first?.1)
            #expect(read.name == segment.name && read.identity == segment.identity)
            #expect(
                read.keyFile == segment.keyFile && read.byteCount == 4096 && read.wasCreatedHere)
            #expect(read.holder?.token == 99 && read.holder?.session == session.id)
            #expect(read.ending == .keep && read.isLockMadeHere == false && read.semaphore == 12)
            #expect(image.creations.map(\.1.key) == [longKey])
            #expect(image.creations.first?.1.notes.file == .init(device: 3, inode: 4))
            #expect(image.creations.first?.1.notes.semaphore == 65_539)
            #expect(image.head.lastAlive.nanoseconds == 77)
            #expect(try StateImage.lastToken(words(ofFile: path)) == 1234)
        }
    }

    @Test func `a successor goes on where the file ends, and tokens never go back`() throws {
        try withStatePath { path in
            let mark = try {
                let store = try StateStore(path)
                for number in 0..<1000 {
                    store.commit(try store.prepare(SessionState.some("\(number)")))
                }
                store.note(1 << 50)
                return store.mark
            }()
            let store = try StateStore(path)
            #expect(store.mark == mark && store.lastToken == 1 << 50)
            let image = try #require(store.takeFound())
            #expect(image.sessions.count == 1000)
            #expect(Set(image.sessions.compactMap(\.1.name)).count == 1000)
            #expect(store.takeFound() == nil)
            for number in 0..<1000 {
                store.commit(try store.prepare(SessionState.some("again \(number)")))
            }
            let names = try #require(StateImage(words(ofFile: path))).sessions.compactMap(\.1.name)
            #expect(Set(names).count == 2000)
        }
    }

    @Test func `what was released is used again, texts too`() throws {
        try withStatePath { path in
            let store = try StateStore(path)
            let name = String(repeating: "n", count: 500)
            for _ in 0..<2000 {
                let prepared = try store.prepare(SessionState.some(name))
                store.commit(prepared)
                store.release(prepared.slot, .session)
                store.discard(try store.prepare(SessionState.some(name)))
            }
            #expect(try words(ofFile: path).count < 4 * StateLayout.chunkWordCount)
            let image = try #require(StateImage(words(ofFile: path)))
            #expect(image.sessions.isEmpty && image.damaged.isEmpty)
        }
    }

    @Test func `state of another boot tells nothing but how far the tokens came`() throws {
        try withStatePath { path in
            do {
                let store = try StateStore(path)
                store.commit(try store.prepare(SessionState.some("gone")))
                store.note(4711)
            }
            let file = try MappedFile(path, byteLimit: StateLayout.byteLimit)
            let words = file.words()
            let host = Array(words[1...5]).enumerated().map { $0 == 0 ? $1 ^ 1 : $1 }
            file.write(host + [StateImage.Head.checksum(host)], at: 1)
            let store = try StateStore(path)
            #expect(store.takeFound() == nil)
            #expect(store.lastToken == 4711 && store.remarks.count == 1)
            #expect(try StateStore(path).takeFound()?.sessions.isEmpty == true)
        }
    }

    @Test func `a link in the place of the file is not followed`() throws {
        try withStatePath { path in
            #expect(symlink("/etc/hostname", path) == 0)
            #expect(throws: SystemCallError.self) { _ = try StateStore(path) }
        }
    }
}

@Suite struct KilledWriterTests {
    /// What a change leaves after each of its stores, read.
    private func images(
        of change: (StateStore) throws -> Void, after preparation: (StateStore) throws -> Void
    ) throws -> [StateImage] {
        try withStatePath { path in
            let stores = Stores()
            let file = try MappedFile(
                path, byteLimit: StateLayout.byteLimit, onWrite: { stores.add($0, $1) })
            let store = try StateStore(file)
            try preparation(store)
            var words = file.words()
            stores.all.withLock { $0 = [] }
            try change(store)
            let end = file.words()
            // A file that grew is filled with zeros at first.
            words += Array(repeating: 0, count: end.count - words.count)
            var images = [try #require(StateImage(words))]
            for (index, word) in stores.all.withLock({ $0 }) {
                words[index] = word
                images.append(try #require(StateImage(words)))
            }
            #expect(words == end)
            return images
        }
    }

    private func expectWhole(_ images: [StateImage], _ counts: (StateImage) -> Int) {
        #expect(images.count > 1)
        #expect(images.allSatisfy { $0.damaged.isEmpty })
        let steps = images.map(counts)
        // It changes once, and never back.
        #expect(Set(steps) == Set([steps[0], steps[steps.count - 1]]))
        #expect(zip(steps, steps.dropFirst()).count { $0 != $1 } == 1)
    }

    @Test func `a session is opened whole or not at all`() throws {
        let session = SessionState.some("with a name that needs more than one piece \(longKey)")
        let images = try images(of: { $0.commit(try $0.prepare(session)) }, after: { _ in })
        expectWhole(images) { $0.sessions.count }
        #expect(images.allSatisfy { $0.sessions.allSatisfy { $0.1 == session } })
    }

    @Test func `a session ends whole or not at all, and what comes after it is another`() throws {
        let (first, second) = (SessionState.some("one"), SessionState.some("another"))
        var slot = StateSlot.none
        let images = try images(
            of: { store in
                store.release(slot, .session)
                store.commit(try store.prepare(second))
            },
            after: { store in
                let prepared = try store.prepare(first)
                slot = prepared.slot
                store.commit(prepared)
            })
        #expect(images.allSatisfy { $0.damaged.isEmpty })
        for image in images {
            #expect(image.sessions.isEmpty || [first, second].contains(image.sessions[0].1))
        }
    }

    @Test func `a lock is held by whoever holds it, or by nobody`() throws {
        let one = LockHolder(
            session: .init(), token: 5, acquiredAt: .init(seconds: 1, nanoseconds: 0))
        let two = LockHolder(
            session: .init(), token: 6, acquiredAt: .init(seconds: 2, nanoseconds: 0))
        var slot = StateSlot.none
        let images = try images(
            of: { store in
                store.clearHolder(of: slot)
                store.setHolder(two, of: slot)
            },
            after: { store in
                let prepared = try store.prepare(SegmentState.some(.key(longKey)))
                slot = prepared.slot
                store.commit(prepared)
                store.setHolder(one, of: slot)
            })
        for image in images {
            let holder = try #require(image.segments.first).1.holder
            let expected = [nil, one, two].contains { expected in
                expected?.token == holder?.token && expected?.session == holder?.session
                    && expected?.acquiredAt == holder?.acquiredAt
            }
            #expect(expected)
        }
    }

    @Test func `a segment has one name or the other`() throws {
        let names = [SegmentName.identifier(12), .key(longKey)]
        var slot = StateSlot.none
        let images = try images(
            of: { try $0.rename(slot, to: names[1]) },
            after: { store in
                let prepared = try store.prepare(SegmentState.some(names[0]))
                slot = prepared.slot
                store.commit(prepared)
            })
        #expect(images.allSatisfy { $0.damaged.isEmpty })
        #expect(
            images.allSatisfy { $0.segments.count == 1 && names.contains($0.segments[0].1.name) })
        #expect(images.last?.segments.first?.1.name == names[1])
    }
}

@Suite struct DamagedStateTests {
    /// A file with a few of everything.
    private func sample() throws -> [UInt64] {
        try withStatePath { path in
            let store = try StateStore(path)
            for number in 0..<5 {
                let session = SessionState.some("session \(number)")
                store.commit(try store.prepare(session))
                store.commit(
                    try store.prepare(SegmentState.some(.key(longKey), serial: UInt64(number))))
                store.write(
                    AttachmentState(
                        session: session.id, segment: UInt64(number), mode: .readWrite,
                        onLastDetach: .destroy, attachedAt: .now),
                    at: try store.take(.attachment))
            }
            return try words(ofFile: path)
        }
    }

    /// Opens a store on what is left, and lets it work.
    private func open(_ words: [UInt64]) throws {
        try withStatePath { path in
            do {
                let file = try MappedFile(path, byteLimit: StateLayout.byteLimit)
                if !words.isEmpty {
                    try file.grow(to: words.count * 8)
                    file.write(words, at: 0)
                }
            }
            let store = try StateStore(path)
            let before = store.takeFound()?.sessions.count ?? 0
            for _ in 0..<100 {
                store.commit(try store.prepare(SessionState.some("a new one \(longKey)")))
            }
            let image = try #require(StateImage(SegmentServiceTests.words(ofFile: path)))
            #expect(image.sessions.count == before + 100)
            #expect(image.damaged.isEmpty)
        }
    }

    @Test func `each single damaged word costs at most the records that it belongs to`() throws {
        let words = try sample()
        var generator = SystemRandomNumberGenerator()
        for index in words.indices where words[index] != 0 {
            var damaged = words
            damaged[index] ^= 1 << UInt64.random(in: 0..<64, using: &generator)
            guard let image = StateImage(damaged) else {
                #expect(index < 8, "word \(index)")
                continue
            }
            let isChunkHead =
                (index - StateLayout.headWordCount) % StateLayout.chunkWordCount == 0
            let count = image.sessions.count + image.segments.count + image.attachments.count
            #expect(isChunkHead || count >= 14, "word \(index)")
        }
    }

    @Test(arguments: [0, 1, 511, 512, 513, 2_000, 2_560, 3_000, 5_000])
    func `a file that was cut off is read as far as it goes`(count: Int) throws {
        try open(Array(try sample().prefix(count)))
    }

    @Test(arguments: 0..<20)
    func `whatever the records are, reading ends and writing goes on`(round: Int) throws {
        var generator = SystemRandomNumberGenerator()
        var words = try sample()
        for index in StateLayout.headWordCount..<words.count
        where (index - StateLayout.headWordCount) % StateLayout.chunkWordCount != 0 || round > 15 {
            let isHit = round < 10 ? Int.random(in: 0..<50, using: &generator) == 0 : true
            if isHit { words[index] = .random(in: 0 ... .max, using: &generator) }
        }
        try open(words)
    }

    @Test func `texts that go in a circle end`() throws {
        var words = try sample()
        let image = try #require(StateImage(words))
        for piece in image.texts {
            let index = piece.index(.text)
            words[index] = words[index] & (0xffff_ffff << 32) | UInt64(piece.number)
        }
        let damaged = try #require(StateImage(words))
        #expect(damaged.segments.isEmpty && damaged.sessions.count == 5)
        try open(words)
    }
}

@Suite struct ExpiryAfterKillTests {
    private func expiry(_ expiresAt: Int64, timeToLive: Int64, lastAlive: Int64, now: Int64)
        -> Int64
    {
        let beginning = MonotonicInstant(nanoseconds: 0)
        var session = SessionState.some(nil, timeToLive: timeToLive)
        session.expiresAt = beginning.advanced(byMilliseconds: expiresAt)
        return session.expiry(
            now: beginning.advanced(byMilliseconds: now),
            lastAlive: beginning.advanced(byMilliseconds: lastAlive)
        ).nanoseconds / 1_000_000
    }

    @Test func `the time away is added`() {
        #expect(expiry(5_000, timeToLive: 10_000, lastAlive: 1_000, now: 1_300) == 5_300)
    }

    @Test func `never more than one time to live`() {
        #expect(expiry(1_500, timeToLive: 1_000, lastAlive: 1_000, now: 90_000) == 2_500)
    }

    @Test func `what had expired stays so`() {
        #expect(expiry(900, timeToLive: 1_000, lastAlive: 1_000, now: 1_001) == 900)
    }

    @Test func `what was held has its whole time`() {
        #expect(expiry(.max, timeToLive: 1_000, lastAlive: 1_000, now: 1_200) == 2_200)
    }

    @Test func `nonsense is bounded`() {
        #expect(expiry(.max - 1, timeToLive: 1_000, lastAlive: 1_000, now: 1_200) <= 2_200)
        #expect(expiry(-5, timeToLive: 1_000, lastAlive: 1_000, now: 1_200) == 0)
    }
}
