import Glibc
import SharedMemory
import Synchronization
import Testing

@testable import SegmentService

@Suite struct `A request's use of the bytes` {
    /// Lends a test a service and a segment that nobody holds.
    private func withOrphan(
        _ kind: KeyKind, _ body: (SegmentService, SegmentName) throws -> Void
    ) throws {
        try withSegmentName(kind) { service, name in
            let maker = try Segment.create(try name.key, byteCount: 64)
            try maker.write(Array("orphan".utf8), at: 0)
            maker.settle()
            _ = consume maker
            try body(service, name)
            #expect(try service.segment(name).description.isOrphaned)
            try service.remove(name, force: false)
        }
    }

    @Test(arguments: KeyKind.allCases)
    func `without a session leaves an orphan as it is`(kind: KeyKind) throws {
        try withOrphan(kind) { service, name in
            for _ in 0..<20 {
                let access = try service.access(name, session: nil, for: .readOnly)
                #expect(try access.segment.read(at: 0, byteCount: 6) == Array("orphan".utf8))
            }
            #expect(service.entryCount == 0)
        }
    }

    @Test(arguments: KeyKind.allCases)
    func `without a session leaves an orphan as it is, however many look at once`(kind: KeyKind)
        throws
    {
        try withOrphan(kind) { service, name in
            for _ in 0..<100 {
                let failures = Reports<String>()
                runThreads(6) { _ in
                    do {
                        let access = try service.access(name, session: nil, for: .readOnly)
                        let bytes = try access.segment.read(at: 0, byteCount: 6)
                        if bytes != Array("orphan".utf8) { failures.add("\(bytes)") }
                    } catch { failures.add("\(error)") }
                }
                try #require(failures.all == [])
            }
            #expect(service.entryCount == 0)
        }
    }

    // MARK: Batches

    /// What a name leads to, if it does.
    private func peek(_ service: SegmentService, _ name: KnownName, in batch: UInt64?) throws
        -> String?
    {
        var bytes: Result<[UInt8], any Error> = .success([])
        let isSeen = service.peek(name, in: batch) { peek in
            var isNamed = false
            bytes = Result {
                try unsafe [UInt8](unsafeUninitializedCapacity: 3) { buffer, filled in
                    isNamed = try unsafe peek.read(
                        at: 0, into: UnsafeMutableRawBufferPointer(buffer))
                    filled = 3
                }
            }
            return isNamed
        }
        let text = String(decoding: try bytes.get(), as: UTF8.self)
        return isSeen ? text : nil
    }

    @Test(arguments: [KeyKind.posix, .systemV])
    func `without a session follows the name once for a batch`(kind: KeyKind) throws {
        try withSegmentName(kind) { service, name in
            let user = try Segment.create(try name.key, byteCount: 64)
            try user.write(Array("old".utf8), at: 0)
            let session = try service.open()
            try service.join(name, session)
            let known = KnownName(name)
            for batch in [1, 2, 5, nil] as [UInt64?] {
                #expect(try peek(service, known, in: batch) == "old")
            }
            let path =
                kind == .posix ? "/dev/shm/\(try name.key.posixName)" : try name.key.value
            try #require(rename(path, path + "-aside") == 0)
            // Those that came in together with one that saw it, before it was moved; of batches that
            // share a place, the last.
            for batch in [2, 5] as [UInt64] {
                #expect(try peek(service, known, in: batch) == "old")
            }
            for batch in [1, 3, 6, nil] as [UInt64?] {
                #expect(try peek(service, known, in: batch) == nil)
            }
            #expect(try peek(service, KnownName(name), in: 2) == nil)
            try #require(rename(path + "-aside", path) == 0)
            for batch in [2, 3, nil] as [UInt64?] {
                #expect(try peek(service, known, in: batch) == "old")
            }
            try service.endSession(session)
            #expect(try user.detach())
            for batch in [2, 3, nil] as [UInt64?] {
                #expect(try peek(service, known, in: batch) == nil)
            }
        }
    }

    @Test func `without a session is not beyond where a peer truncates it within a batch`() throws {
        try withSegmentName(.posix) { service, name in
            let session = try service.open()
            try service.make(name, session, byteCount: 64)
            let known = KnownName(name)
            #expect(try peek(service, known, in: 1) == "\0\0\0")
            try #require(truncate("/dev/shm/\(try name.key.posixName)", 2) == 0)
            #expect(throws: SegmentError.self) { try peek(service, known, in: 1) }
            try service.endSession(session)
        }
    }

    // MARK: Other users

    @Test(arguments: KeyKind.allCases)
    func `without a session takes the segment along when its last user leaves meanwhile`(
        kind: KeyKind
    ) throws {
        try withSegmentName(kind) { service, name in
            let user = try Segment.create(try name.key, byteCount: 64)
            let access = try service.access(name, session: nil, for: .readOnly)
            #expect(try !user.detach())
            #expect(try access.segment.read(at: 0, byteCount: 1) == [0])
            #expect(!files(of: try name.key).isEmpty)
            _ = consume access
            try eventually("the segment goes") { files(of: try name.key).isEmpty }
            #expect(service.entryCount == 0)
        }
    }

    @Test(arguments: KeyKind.allCases)
    func `without a session leaves the segment to a user who stays`(kind: KeyKind) throws {
        try withSegmentName(kind) { service, name in
            let user = try Segment.create(try name.key, byteCount: 64)
            _ = try service.access(name, session: nil, for: .readOnly)
            #expect(service.entryCount == 0)
            let isThere = user.hasItsName
            #expect(isThere)
            #expect(try user.detach())
        }
    }

    @Test(arguments: KeyKind.allCases)
    func `goes on when the last attachment goes: the segment is destroyed, the memory is there`(
        kind: KeyKind
    ) throws {
        try withSegmentName(kind) { service, name in
            let session = try service.open()
            try service.make(name, session)
            let own = try service.access(name, session: session, for: .readWrite)
            let peek = try service.access(name, session: nil, for: .readOnly)
            try own.segment.write([5, 6], at: 1)
            #expect(try service.drop(name, session))
            #expect(files(of: try name.key).isEmpty)
            #expect(try own.segment.read(at: 0, byteCount: 4) == [0, 5, 6, 0])
            #expect(try peek.segment.read(at: 0, byteCount: 4) == [0, 5, 6, 0])
            try service.make(name, session)
            let next = try service.access(name, session: session, for: .readOnly)
            #expect(try next.segment.read(at: 0, byteCount: 4) == [0, 0, 0, 0])
            withExtendedLifetime((own, peek)) {}
        }
    }

    @Test(arguments: KeyKind.allCases)
    func `keeps asking for the segment of the last attachment while another holder stays`(
        kind: KeyKind
    ) throws {
        try withSegmentName(kind) { service, name in
            let session = try service.open()
            try service.make(name, session)
            let access = try service.access(name, session: session, for: .readOnly)
            let other = try Segment.attach(try name.key)
            #expect(try !service.drop(name, session))
            #expect(service.entryCount == 1)
            #expect(try access.segment.read(at: 0, byteCount: 1) == [0])
            // It sees our mapping in use, and leaves the segment to us.
            #expect(try !other.detach())
            try eventually("the segment goes") { files(of: try name.key).isEmpty }
            #expect(try access.segment.read(at: 0, byteCount: 1) == [0])
            _ = consume access
            try eventually("the entry goes") { service.entryCount == 0 }
        }
    }

    @Test(arguments: KeyKind.allCases)
    func `does not keep a segment that is to stay from staying`(kind: KeyKind) throws {
        try withOrphan(kind) { service, name in
            let session = try service.open()
            try service.join(name, session, onLastDetach: .keep)
            let access = try service.access(name, session: session, for: .readOnly)
            let peek = try service.access(name, session: nil, for: .readOnly)
            #expect(try !service.drop(name, session))
            #expect(try access.segment.read(at: 0, byteCount: 6) == Array("orphan".utf8))
            _ = consume access
            _ = consume peek
            try eventually("it is let go") { service.entryCount == 0 }
        }
    }

    @Test(arguments: KeyKind.allCases)
    func `that looks when a session comes and goes does not save the segment`(kind: KeyKind) throws
    {
        try withSegmentName(kind) { service, name in
            let isDone = Atomic(false)
            runThreads(4) { number in
                if number < 3 {
                    while !isDone.load(ordering: .acquiring) {
                        _ = try? service.access(name, session: nil, for: .readOnly)
                    }
                    return
                }
                do {
                    let session = try service.open()
                    for _ in 0..<300 {
                        try service.make(name, session, ifExists: .attach)
                        let count = try mappingCount(of: name.key)
                        if count > 2 { Issue.record("\(count) mappings") }
                        try service.drop(name, session)
                    }
                } catch { Issue.record(error) }
                isDone.store(true, ordering: .releasing)
            }
            try eventually("all is let go") { service.entryCount == 0 }
            #expect(files(of: try name.key).isEmpty)
        }
    }

    @Test(arguments: KeyKind.allCases)
    func `of an orphan that is adopted meanwhile goes by the adopter's word`(kind: KeyKind) throws {
        try withSegmentName(kind) { service, name in
            let session = try service.open()
            for _ in 0..<100 {
                let maker = try Segment.create(try name.key, byteCount: 64)
                maker.settle()
                _ = consume maker
                runThreads(4) { number in
                    if number > 0 {
                        _ = try? service.access(name, session: nil, for: .readOnly)
                        return
                    }
                    do {
                        try service.join(name, session)
                        try service.drop(name, session)
                    } catch { Issue.record(error) }
                }
                try eventually(within: 2_000, "all is let go") { service.entryCount == 0 }
                try #require(files(of: try name.key).isEmpty)
            }
        }
    }

    @Test(arguments: KeyKind.allCases)
    func `without a session leaves one errand behind, not one each, while the lock is taken`(
        kind: KeyKind
    ) throws {
        try withSegmentName(kind) { service, name in
            let user = try Segment.create(try name.key, byteCount: 64)
            let foreign = SegmentLock(ofSegment: try name.key)
            #expect(try foreign.tryLock())
            for _ in 0..<50 { _ = try service.access(name, session: nil, for: .readOnly) }
            #expect(try service.queueLength(name) <= 1)
            foreign.unlock()
            try eventually("all is let go") { service.entryCount == 0 }
            #expect(try user.detach())
        }
    }

    @Test(arguments: KeyKind.allCases)
    func `without a session does not stay for a lock that another process holds`(kind: KeyKind)
        throws
    {
        try withSegmentName(kind) { service, name in
            let user = try Segment.create(try name.key, byteCount: 64)
            let foreign = SegmentLock(ofSegment: try name.key)
            #expect(try foreign.tryLock())
            for _ in 0..<20 {
                _ = try service.access(name, session: nil, for: .readOnly)
                try #require(try mappingCount(of: name.key) == 1, "the user's own")
                try #require(service.entryCount == 0)
            }
            foreign.unlock()
            #expect(try user.detach())
        }
    }

    @Test(arguments: KeyKind.allCases)
    func `without a session leaves an orphan whose lock is taken at once`(kind: KeyKind) throws {
        try withOrphan(kind) { service, name in
            let foreign = SegmentLock(ofSegment: try name.key)
            #expect(try foreign.tryLock())
            _ = try service.access(name, session: nil, for: .readOnly)
            #expect(try mappingCount(of: name.key) == 0)
            #expect(service.entryCount == 0)
            foreign.unlock()
        }
    }

    /// Lends a test a segment whose last user left while it was looked at, and whose lock somebody
    /// else has: so nothing is decided yet.
    private func withUndecided(
        _ kind: KeyKind, _ body: (SegmentService, SegmentName, SegmentLock) throws -> Void
    ) throws {
        try withSegmentName(kind) { service, name in
            let user = try Segment.create(try name.key, byteCount: 64)
            let foreign = SegmentLock(ofSegment: try name.key)
            let access = try service.access(name, session: nil, for: .readOnly)
            #expect(try !user.detach())
            #expect(try foreign.tryLock())
            _ = consume access
            #expect(try mappingCount(of: name.key) == 0, "nothing is attached meanwhile")
            #expect(try name.key.hasSegment)
            #expect(service.entryCount == 1)
            try body(service, name, foreign)
            try eventually("the segment goes") { files(of: try name.key).isEmpty }
            try eventually("the entry goes") { service.entryCount == 0 }
        }
    }

    @Test(arguments: KeyKind.allCases)
    func `without a session decides under the lock, once that is free`(kind: KeyKind) throws {
        try withUndecided(kind) { _, _, foreign in foreign.unlock() }
    }

    @Test(arguments: KeyKind.allCases)
    func `without a session leaves the segment to a user who came before that`(kind: KeyKind) throws
    {
        try withUndecided(kind) { service, name, foreign in
            let late = try Segment.attach(try name.key)
            foreign.unlock()
            try eventually("it is decided") { service.entryCount == 0 }
            let isThere = late.hasItsName
            #expect(isThere)
            #expect(try late.detach())
        }
    }

    @Test(arguments: KeyKind.allCases)
    func `without a session hands what is undecided to the next look`(kind: KeyKind) throws {
        try withUndecided(kind) { service, name, foreign in
            for _ in 0..<3 { _ = try service.access(name, session: nil, for: .readOnly) }
            #expect(service.entryCount == 1)
            let last = try service.access(name, session: nil, for: .readOnly)
            foreign.unlock()
            #expect(try last.segment.read(at: 0, byteCount: 1) == [0])
        }
    }

    @Test(arguments: KeyKind.allCases)
    func `without a session hands what is undecided to a session`(kind: KeyKind) throws {
        try withUndecided(kind) { service, name, foreign in
            let session = try service.open()
            try service.join(name, session)
            foreign.unlock()
            #expect(try service.drop(name, session))
        }
    }

    @Test(arguments: [KeyKind.systemV, .legacy])
    func `without a session takes an orphan along whose next user came and left meanwhile`(
        kind: KeyKind
    ) throws {
        try withSegmentName(kind) { service, name in
            let maker = try Segment.create(try name.key, byteCount: 64)
            maker.settle()
            _ = consume maker
            let access = try service.access(name, session: nil, for: .readOnly)
            try attachAndDetachElsewhere(shmget(ftok(try name.key.value, 0x51), 0, 0))
            #expect(!files(of: try name.key).isEmpty)
            _ = consume access
            try eventually("the segment goes") { files(of: try name.key).isEmpty }
        }
    }
}

/// Attaches to a segment and detaches from it in another process, which the kernel remembers.
private func attachAndDetachElsewhere(_ identifier: CInt) throws {
    let script = """
        import ctypes; libc = ctypes.CDLL(None); libc.shmat.restype = ctypes.c_void_p
        libc.shmdt(ctypes.c_void_p(libc.shmat(\(identifier), None, 0)))
        """
    let arguments = ["python3", "-c", script]
    var pointers = arguments.map { strdup($0) }
    defer { for pointer in pointers { free(pointer) } }
    pointers.append(nil)
    var process = pid_t()
    try #require(posix_spawnp(&process, "python3", nil, nil, &pointers, environ) == 0)
    var status: CInt = 0
    try #require(waitpid(process, &status, 0) == process && status == 0)
}
