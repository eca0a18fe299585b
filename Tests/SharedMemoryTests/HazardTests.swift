import Foundation
import Glibc
import SharedMemory
import Synchronization
import Testing

@Suite struct `Attaching to what is no segment` {
    @Test(arguments: ObjectInTheWay.allCases, [AccessMode.readOnly, .readWrite])
    func `does not wait, and says that it is none`(object: ObjectInTheWay, mode: AccessMode) throws
    {
        try withTemporaryKey(.posix) { key in
            try object.with("/dev/shm/\(key.posixName)") {
                let start = MonotonicInstant.now
                let error = #expect(throws: SegmentError.self) {
                    _ = try Segment.attach(key, mode: mode)
                }
                #expect(MonotonicInstant.now < start.advanced(byMilliseconds: 2_000))
                // Links are unknown errors in Qt as well; the cause tells.
                let isLink = object == .link || object == .linkToNowhere
                #expect(error?.code == (isLink ? .unknownError : .keyError))
                #expect((error?.cause?.number == ELOOP) == isLink)
                #expect(error?.description.contains(key.text) == true)
            }
        }
    }

    @Test(arguments: ObjectInTheWay.allCases)
    func `does not wait for a lock that is none`(object: ObjectInTheWay) throws {
        try withTemporaryKey(.posix) { key in
            let segment = try Segment.create(key, byteCount: 10)
            unlink("/dev/shm/sem.\(key.posixName)")
            try object.with("/dev/shm/sem.\(key.posixName)") {
                for _ in 1...2 {
                    let refused = code { try Segment.attach(key).detach() }
                    #expect([.keyError, .lockError].contains(refused))
                }
                let refused = code { try SegmentLock(ofSegment: key).tryLock() }
                #expect([.keyError, .lockError].contains(refused))
            }
            #expect(try segment.detach())
        }
    }

    @Test func `of no size is an error`() throws {
        try withTemporaryKey(.posix) { key in
            let path = "/dev/shm/\(key.posixName)"
            try Data().write(to: URL(filePath: path))
            expectFailure(.truncated) { _ = try Segment.attach(key) }
            unlink(path)
        }
    }
}

@Suite struct `A key file` {
    @Test func `with contents is never removed`() throws {
        try withTemporaryDirectory { root in
            let path = "\(root)/letter"
            let key = NativeKey(path, type: .systemV)
            try Data([1, 2, 3]).write(to: URL(filePath: path))

            expectFailure(.notFound) { _ = try Segment.attach(key) }
            let refused = code { _ = try Segment.create(key, byteCount: 1 << 50) }
            #expect(refused != nil)
            #expect(try Segment.create(key, byteCount: 10).detach())
            try Segment.create(key, byteCount: 10).removeByForce()
            do { _ = try Segment.create(key, byteCount: 10) }

            #expect(try Data(contentsOf: URL(filePath: path)) == Data([1, 2, 3]))
            #expect(shmget(ftok(path, 81), 0, 0) == -1)
            #expect(!SegmentLock(ofSegment: key).exists)
        }
    }

    @Test(.enabled(if: geteuid() == 0, "needs root"))
    func `of another user is never removed`() throws {
        try withTemporaryDirectory { root in
            let path = "\(root)/file"
            let key = NativeKey(path, type: .systemV)
            try Data().write(to: URL(filePath: path))
            try #require(chown(path, 65534, 65534) == 0)
            #expect(try Segment.create(key, byteCount: 10).detach())
            #expect(FileManager.default.fileExists(atPath: path))
            #expect(shmget(ftok(path, 81), 0, 0) == -1)
        }
    }

    @Test func `that is a directory or a link is never removed, nor what it leads to`() throws {
        try withTemporaryDirectory { root in
            try Data().write(to: URL(filePath: "\(root)/file"))
            try #require(symlink("file", "\(root)/link") == 0)
            try #require(mkdir("\(root)/directory", 0o700) == 0)
            for name in ["link", "directory"] {
                let key = NativeKey("\(root)/\(name)", type: .systemV)
                #expect(try Segment.create(key, byteCount: 10).detach())
            }
            let names = try FileManager.default.contentsOfDirectory(atPath: root)
            #expect(names.sorted() == ["directory", "file", "link"])
        }
    }

    @Test func `that was replaced meanwhile is left to its new owner, with segment and lock`()
        throws
    {
        try withTemporaryDirectory { root in
            let path = "\(root)/file"
            let key = NativeKey(path, type: .systemV)
            let old = try Segment.create(key, byteCount: 10)
            // A second file first, so that it cannot have the number of the first.
            try Data().write(to: URL(filePath: "\(root)/new"))
            try #require(rename("\(root)/new", path) == 0)
            #expect(old.hasItsName == false)
            let new = try Segment.create(key, byteCount: 20)
            #expect(try old.detach())
            #expect(new.hasItsName == true)
            #expect(try new.requireLock().tryLock())
            #expect(try new.detach())
            let names = try FileManager.default.contentsOfDirectory(atPath: root)
            #expect(names.isEmpty)
        }
    }
}

@Suite struct `Removing a segment that another process has` {
    @Test(arguments: KeyKind.allCases)
    func `is left undone while it is attached there`(kind: KeyKind) throws {
        try withTemporaryKey(kind) { key in
            let segment = try Segment.create(key, byteCount: 4096)
            let peer = try Peer(key, "segment.attach(); say('attached'); hear()")
            #expect(peer.line() == "attached")
            #expect(segment.isUsedByOthers == true)
            #expect(try segment.removeIfLast() == false)
            #expect(segment.hasItsName == true)
            peer.finish()
            #expect(try segment.removeIfLast())
            #expect(segment.hasItsName == false)
            try segment.requireLock().remove()
        }
    }

    @Test func `is left undone while it is merely open there`() throws {
        try withTemporaryKey(.posix) { key in
            let segment = try Segment.create(key, byteCount: 4096)
            let peer = try Peer(key, "file = segment.open(); say('open'); hear()")
            #expect(peer.line() == "open")
            #expect(try segment.removeIfLast() == false)
            #expect(segment.hasItsName == true)
            peer.kill()
            #expect(try segment.removeIfLast())
            try segment.requireLock().remove()
        }
    }

    @Test(arguments: [KeyKind.posix, .legacyPOSIX], [true, false])
    func `leaves the lock to a new segment of the same name`(kind: KeyKind, isDropped: Bool) throws
    {
        try withTemporaryKey(kind) { key in
            let old = try Segment.create(key, byteCount: 10)
            unlink("/dev/shm/\(key.posixName)")
            let new = try Segment.create(key, byteCount: 20)
            let lock = try new.requireLock()
            if isDropped { drop(old) } else { try old.detach() }
            #expect(try lock.tryLock())
            #expect(lock.isIntact)
            #expect(try new.detach())
        }
    }

    @Test(arguments: KeyKind.allCases, [true, false])
    func `by force is not undone by those who let go afterwards`(kind: KeyKind, isDropped: Bool)
        throws
    {
        try withTemporaryKey(kind) { key in
            let remover = try Segment.create(key, byteCount: 10)
            let other = try Segment.attach(key)
            try remover.removeByForce()
            if isDropped { drop(other) } else { try other.detach() }
            #expect(SegmentLock(ofSegment: key).exists == false)
            #expect(remover.byteCount == 10)
        }
    }

    // Whichever of the two is second has to see that the first is gone, or nobody destroys it.
    @Test(arguments: KeyKind.allCases, [true, false])
    func `is done by one of two that let go at once`(kind: KeyKind, isDropped: Bool) throws {
        for _ in 0..<20 {
            try withTemporaryKey(kind) { key in
                let creator = try Segment.create(key, byteCount: 4096)
                let meeting = Meeting()
                let other = TestThread {
                    try letGo(of: try Segment.attach(key), isDropped: isDropped, after: meeting)
                }
                try letGo(of: creator, isDropped: isDropped, after: meeting)
                #expect(other.join() == 0)
            }
        }
    }
}

/// Lets go of a segment at the moment when everybody else has arrived here too.
///
/// - Returns: 0.
@discardableResult
private func letGo(of segment: consuming Segment, isDropped: Bool, after meeting: Meeting) throws
    -> Int
{
    meeting.arrive()
    if isDropped { drop(segment) } else { try segment.detach() }
    return 0
}

private func drop(_ segment: consuming Segment) {}

/// Where two threads wait for each other.
private final class Meeting: Sendable {
    private let missing = Atomic(2)

    func arrive() {
        missing.subtract(1, ordering: .acquiringAndReleasing)
        let deadline = MonotonicInstant.now.advanced(byMilliseconds: 5_000)
        while missing.load(ordering: .acquiring) > 0, MonotonicInstant.now < deadline {
            sched_yield()
        }
    }
}
