import Glibc
import SharedMemory
import Synchronization
import Testing

@testable import SegmentService

@Suite struct `An attachment` {
    @Test(arguments: KeyKind.allCases)
    func `of five sessions is one mapping`(kind: KeyKind) throws {
        try withSegmentName(kind) { service, name in
            let sessions = try (0..<5).map { _ in try service.open() }
            #expect(try service.make(name, sessions[0]).isNew)
            for session in sessions[1...] {
                #expect(try service.join(name, session).isNew == false)
            }
            #expect(try mappingCount(of: name.key) == 1)
            let peek = try service.access(name, session: nil, for: .readOnly)
            #expect(try mappingCount(of: name.key) == 1)
            #expect(try service.segment(name).sessionCount == 5)
            #expect(try service.segment(name).description.holderCount == 1)
            withExtendedLifetime(peek) {}
        }
    }

    @Test(arguments: KeyKind.allCases)
    func `destroys the segment when it is the last to go, and not before`(kind: KeyKind) throws {
        try withSegmentName(kind) { service, name in
            let sessions = try (0..<3).map { _ in try service.open() }
            try service.make(name, sessions[0], byteCount: 100)
            for session in sessions[1...] {
                #expect(try service.join(name, session).attachment.byteCount == 100)
            }
            #expect(try !service.drop(name, sessions[1]))
            #expect(
                refusal { _ = try service.attachment(name, session: sessions[1]) } == .notAttached)
            #expect(try !service.drop(name, sessions[0]))
            #expect(try service.drop(name, sessions[2]))
            #expect(files(of: try name.key).isEmpty && service.entryCount == 0)
            #expect(refusal { _ = try service.attachment(name, session: sessions[2]) } == .notFound)
        }
    }

    @Test(arguments: KeyKind.allCases)
    func `may leave the segment, with the last one's word`(kind: KeyKind) throws {
        try withSegmentName(kind) { service, name in
            let (one, two) = (try service.open(), try service.open())
            try service.make(name, one, onLastDetach: .keep)
            try service.join(name, two, onLastDetach: .keep)
            try service.access(name, session: one, for: .readWrite).segment.write([7, 8], at: 3)
            #expect(try !service.drop(name, one))
            #expect(try !service.drop(name, two))
            #expect(service.entryCount == 0)
            #expect(try mappingCount(of: name.key) == 0)
            #expect(try service.segment(name).description.isOrphaned)
            try service.join(name, one)
            let bytes = try service.access(name, session: one, for: .readOnly).segment
                .read(at: 3, byteCount: 2)
            #expect(bytes == [7, 8])
            #expect(try service.drop(name, one))
        }
    }

    @Test(arguments: KeyKind.allCases)
    func `leaves the segment to another holder`(kind: KeyKind) throws {
        try withSegmentName(kind) { service, name in
            let session = try service.open()
            try service.make(name, session)
            let other = try Segment.attach(try name.key)
            #expect(try !service.drop(name, session))
            #expect(service.entryCount == 0)
            #expect(try other.read(at: 0, byteCount: 4) == [0, 0, 0, 0])
            #expect(try other.detach())
        }
    }

    @Test(arguments: KeyKind.allCases)
    func `gives the holder's lock to the next when it goes`(kind: KeyKind) throws {
        try withSegmentName(kind) { service, name in
            let (one, two) = (try service.open(), try service.open())
            try service.make(name, one)
            try service.join(name, two)
            try service.take(name, one)
            let request = service.beginLock(name, two)
            #expect(try !service.drop(name, one))
            _ = try request.answer()
            #expect(try service.drop(name, two))
        }
    }

    @Test(arguments: KeyKind.allCases)
    func `waits with its going for the lock that another holds`(kind: KeyKind) throws {
        try withSegmentName(kind) { service, name in
            let (one, two) = (try service.open(), try service.open())
            try service.make(name, one)
            try service.join(name, two)
            try service.take(name, one)
            #expect(try service.beginDetach(name, two, wait: 60).refusal() == .locked)
            _ = try service.attachment(name, session: two)
            let request = service.beginDetach(name, two)
            let waiting = service.beginLock(name, two)
            #expect(!request.isAnswered)
            try service.unlock(name, session: one)
            #expect(try !request.answer())
            #expect(try waiting.refusal() == .notAttached)
        }
    }

    @Test(arguments: KeyKind.allCases)
    func `does not wait with its going for a lock that its own session asked for before`(
        kind: KeyKind
    ) throws {
        try withSegmentName(kind) { service, name in
            let (one, two) = (try service.open(), try service.open())
            try service.make(name, one)
            try service.join(name, two)
            try service.take(name, one)
            let lock = service.beginLock(name, two)
            let request = service.beginDetach(name, two)
            try service.unlock(name, session: one)
            #expect(try !request.answer())
            #expect(try lock.refusal() == .notAttached)
            try service.take(name, one, wait: 0)
        }
    }

    @Test(arguments: KeyKind.allCases)
    func `cannot be had twice, nor of what is not there`(kind: KeyKind) throws {
        try withSegmentName(kind) { service, name in
            let session = try service.open()
            #expect(refusal { try service.join(name, session) } == .notFound)
            try service.make(name, session)
            #expect(refusal { try service.join(name, session) } == .alreadyAttached)
            #expect(refusal { try service.make(name, session) } == .alreadyExists)
            #expect(
                refusal { try service.make(name, session, ifExists: .attach) } == .alreadyAttached)
            let other = try service.open()
            #expect(refusal { try service.make(name, other) } == .alreadyExists)
            #expect(refusal { try service.drop(name, other) } == .notAttached)
            #expect(try service.make(name, other, ifExists: .attach).isNew == false)
            #expect(refusal { try service.make(name, session, byteCount: 0) } == .invalidSize)
        }
    }

    @Test(arguments: KeyKind.allCases)
    func `is read-only if that is asked for`(kind: KeyKind) throws {
        try withSegmentName(kind) { service, name in
            let (one, two) = (try service.open(), try service.open())
            try service.make(name, one, mode: .readOnly)
            try service.join(name, two)
            #expect(
                refusal { _ = try service.access(name, session: one, for: .readWrite) }
                    == .readOnlyAttachment)
            try service.access(name, session: two, for: .readWrite).segment.write([9], at: 0)
            let byte = try service.access(name, session: one, for: .readOnly).segment
                .read(at: 0, byteCount: 1)
            #expect(byte == [9])
        }
    }

    @Test func `by any name of the segment is the same one`() throws {
        try withSegmentName(.systemV) { service, name in
            let (one, two) = (try service.open(), try service.open())
            try service.make(name, one)
            let identifier = try #require(try service.segment(name).description.identifier)
            let number = SegmentName.identifier(identifier)
            #expect(refusal { try service.join(number, one) } == .alreadyAttached)
            #expect(try service.join(number, two).attachment.segment == name.description)
            #expect(try mappingCount(of: name.key) == 1)
            try service.take(number, two)
            #expect(try service.beginLock(name, one, wait: 0).refusal() == .locked)
            #expect(try !service.drop(name, two))
            #expect(try service.drop(number, one))
        }
        try withSegmentName(.posix) { service, name in
            let (one, two) = (try service.open(), try service.open())
            try service.make(name, one)
            let slashes = SegmentName.key(NativeKey("/" + (try name.key.value), type: .posix))
            try service.join(slashes, two)
            #expect(try mappingCount(of: name.key) == 1)
            #expect(try !service.drop(slashes, one))
            #expect(try service.drop(name, two))
        }
    }

    @Test func `by number has no lock until somebody knows the key`() throws {
        try withSegmentName(.systemV) { service, name in
            let made = try Segment.create(try name.key, byteCount: 10)
            let identifier = try #require(try service.segment(name).description.identifier)
            let (one, two) = (try service.open(), try service.open())
            try service.join(.identifier(identifier), one)
            #expect(
                try service.beginLock(.identifier(identifier), one).refusal() == .lockUnsupported)
            try service.join(name, two)
            try service.take(.identifier(identifier), one)
            #expect(try !service.drop(name, one))
            #expect(try !service.drop(name, two))
            #expect(try made.detach())
        }
    }

    @Test func `of one of two files that make the same key is not of the other`() throws {
        // Two files in one directory whose inode numbers agree in 16 bits.
        let directory = "/dev/shm/service-test-\(getpid())-\(UInt64.random(in: .min ... .max))"
        try #require(mkdir(directory, 0o700) == 0)
        var made: [String] = []
        defer {
            for path in made { unlink(path) }
            rmdir(directory)
        }
        var seen: [Int32: String] = [:]
        var pair: (String, String)?
        for number in 0..<70_000 where pair == nil {
            let path = "\(directory)/\(number)"
            let descriptor = open(path, O_CREAT | O_EXCL | O_RDONLY, 0o640)
            try #require(descriptor >= 0)
            close(descriptor)
            made.append(path)
            let key = ftok(path, 0x51)
            pair = seen[key].map { ($0, path) }
            seen[key] = path
        }
        guard let (first, second) = pair else { return }  // this file system's numbers are sparser
        var configuration = SegmentService.Configuration(environment: .current())
        configuration.environment.moreKeyDirectories = [directory]
        try withService(configuration) { service in
            let (one, two) = (try service.open(), try service.open())
            let names = [first, second].map { SegmentName.key(NativeKey($0, type: .systemV)) }
            try service.make(names[0], one)
            #expect(refusal { try service.join(names[1], two) } == .keyCollision)
            #expect(
                refusal { try service.make(names[1], two, ifExists: .attach) } == .keyCollision)
            #expect(try service.drop(names[0], one))
            #expect(access(second, F_OK) == 0)
        }
    }

    // MARK: Known names

    @Test(arguments: KeyKind.allCases)
    func `is found again by a known name, and not after it was given up`(kind: KeyKind) throws {
        try withSegmentName(kind) { service, name in
            let known = KnownName(name)
            let (one, two) = (try service.open(), try service.open())
            try service.make(name, one, byteCount: 16)
            try service.access(known, session: one, for: .readWrite).segment.write([1], at: 0)
            #expect(
                refusal { _ = try service.access(known, session: two, for: .readOnly) }
                    == .notAttached)
            #expect(try service.drop(name, one))
            #expect(
                refusal { _ = try service.access(known, session: one, for: .readOnly) }
                    == .notFound)
            try service.make(name, two, byteCount: 32)
            #expect(
                refusal { _ = try service.access(known, session: one, for: .readOnly) }
                    == .notAttached)
            try service.join(name, one, mode: .readOnly)
            let access = try service.access(known, session: one, for: .readOnly)
            #expect(access.segment.byteCount == 32)
            #expect(try access.segment.read(at: 0, byteCount: 1) == [0])
            #expect(
                refusal { _ = try service.access(known, session: one, for: .readWrite) }
                    == .readOnlyAttachment)
            _ = consume access
            #expect(try !service.drop(name, one))
            #expect(try service.drop(name, two))
        }
    }

    @Test func `of several segments is found by each one's known name`() throws {
        try withService { service in
            let session = try service.open()
            let names = (0..<3).map { _ in SegmentName.key(NativeKey.unused(.posix)) }
            let known = names.map { KnownName($0) }
            for (byte, name) in zip([1, 2, 3] as [UInt8], names) {
                try service.make(name, session)
                try service.access(name, session: session, for: .readWrite).segment.write(
                    [byte], at: 0)
            }
            for place in [0, 1, 2, 2, 0, 1, 0] {
                let access = try service.access(known[place], session: session, for: .readOnly)
                #expect(try access.segment.read(at: 0, byteCount: 1) == [UInt8(place + 1)])
            }
            try service.endSession(session)
            #expect(
                refusal { _ = try service.access(known[0], session: session, for: .readOnly) }
                    == .sessionGone)
        }
    }

    // MARK: Replaced segments

    @Test func `of a segment that lost its name lives on beside the new one`() throws {
        try withSegmentName(.posix) { service, name in
            let sessions = try (0..<3).map { _ in try service.open() }
            try service.make(name, sessions[0])
            try service.access(name, session: sessions[0], for: .readWrite).segment.write(
                [1], at: 0)
            unlink("/dev/shm/\(try name.key.posixName)")
            #expect(refusal { try service.join(name, sessions[1]) } == .notFound)
            try service.make(name, sessions[1])
            try service.join(name, sessions[2])
            for (session, byte) in zip(sessions, [1, 0, 0] as [UInt8]) {
                let segment = try service.access(name, session: session, for: .readOnly)
                #expect(try segment.segment.read(at: 0, byteCount: 1) == [byte])
            }
            #expect(try service.drop(name, sessions[0]))
            #expect(try !service.drop(name, sessions[1]))
            #expect(try service.drop(name, sessions[2]))
        }
    }

    @Test(arguments: [KeyKind.posix, .legacy])
    func `that outlived its name does not take the new segment's lock with it`(kind: KeyKind) throws
    {
        try withSegmentName(kind) { service, name in
            let (old, new) = (try service.open(), try service.open())
            try service.make(name, old)
            try service.remove(name, force: true)
            try service.make(name, new)
            #expect(try service.drop(name, old))
            #expect(try SegmentLock(ofSegment: name.key).exists)
            try service.take(name, new)
            #expect(try !SegmentLock(ofSegment: name.key).tryLock(), "two hold the lock at once")
            try service.unlock(name, session: new)
            #expect(try service.drop(name, new))
        }
    }

    @Test func `of a holder whose semaphore was replaced takes the new one with it`() throws {
        try withSegmentName(.posix) { service, name in
            let session = try service.open()
            try service.make(name, session)
            try service.take(name, session)
            // What Qt's create() does to a key that exists.
            unlink("/dev/shm/sem.\(try name.key.posixName)")
            let other = SegmentLock(ofSegment: try name.key)
            #expect(try other.tryLock())
            other.unlock()
            #expect(try service.drop(name, session))
            #expect(files(of: try name.key).isEmpty)
        }
    }

    @Test(arguments: KeyKind.allCases)
    func `of a segment removed by force has the memory until it goes`(kind: KeyKind) throws {
        try withSegmentName(kind) { service, name in
            let session = try service.open()
            try service.make(name, session)
            #expect(refusal { try service.remove(name, force: false) } == .inUse)
            try service.remove(name, force: true)
            #expect(refusal { _ = try service.segment(name) } == .notFound)
            let access = try service.access(name, session: session, for: .readWrite)
            try access.segment.write([1], at: 0)
            #expect(try access.segment.read(at: 0, byteCount: 1) == [1])
            try service.drop(name, session)
        }
    }

    // MARK: Many at once

    @Test(arguments: KeyKind.allCases)
    func `by eight who create at once: one makes the segment, all are attached to it`(
        kind: KeyKind
    ) throws {
        try withSegmentName(kind) { service, name in
            for _ in 0..<50 {
                let sessions = try (0..<8).map { _ in try service.open() }
                let made = Reports<Bool>()
                runThreads(8) { number in
                    do {
                        made.add(
                            try service.make(name, sessions[number], ifExists: .attach).isNew)
                    } catch { Issue.record(error) }
                }
                #expect(made.all.count { $0 } == 1)
                #expect(made.count == 8)
                #expect(try mappingCount(of: name.key) == 1 && service.entryCount == 1)
                let destroyed = Reports<Bool>()
                runThreads(8) { number in
                    do { destroyed.add(try service.drop(name, sessions[number])) } catch {
                        Issue.record(error)
                    }
                }
                #expect(destroyed.all.count { $0 } == 1)
                #expect(files(of: try name.key).isEmpty)
            }
        }
    }

    @Test(arguments: KeyKind.allCases)
    func `made while the last one goes is made all the same`(kind: KeyKind) throws {
        try withSegmentName(kind) { service, name in
            let sessions = try (0..<4).map { _ in try service.open() }
            runThreads(4) { number in
                for _ in 0..<200 {
                    do {
                        try service.make(name, sessions[number], ifExists: .attach)
                        try service.drop(name, sessions[number])
                    } catch { Issue.record(error) }
                }
            }
            #expect(service.entryCount == 0)
        }
    }

    @Test(arguments: KeyKind.allCases)
    func `made while the key file changes hands leads to the segment it made`(kind: KeyKind) throws
    {
        try withSegmentName(kind) { service, name in
            let astray = Atomic<Int>(0)
            runThreads(4) { _ in
                for _ in 0..<200 {
                    do {
                        let session = try service.open()
                        try service.make(name, session, ifExists: .attach)
                        // Nobody can destroy it now, so the name leads where the session is.
                        let address = try name.address()
                        let attachments = service.registry.withLock {
                            $0.sessions[session]?.attachments
                        }
                        if address.flatMap({ attachments?[$0] }) == nil {
                            astray.add(1, ordering: .relaxed)
                        }
                        try service.endSession(session)
                    } catch { Issue.record(error) }
                }
            }
            #expect(astray.load(ordering: .relaxed) == 0)
        }
    }
}
