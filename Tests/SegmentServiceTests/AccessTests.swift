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
}
