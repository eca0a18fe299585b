import Foundation
import Glibc
import SharedMemory
import Testing

@Suite struct `The host's list` {
    @Test(arguments: KeyKind.allCases)
    func `has a segment with its size, owner and mode, and what holds it`(kind: KeyKind) throws {
        try withTemporaryKey(kind) { key in
            let one = try Segment.create(key, byteCount: 5000, permissions: 0o640)
            let found = try #require(Self.find(key))
            #expect(found.byteCount == 5000)
            #expect(found.owner.user == geteuid())
            #expect(found.owner.group == getegid())
            #expect(found.owner.mode == 0o640)
            #expect(!found.isOrphaned && !found.isMarkedForRemoval)
            #expect(found.holderCount == 1)
            #expect(try one.detach())
            let gone = Self.find(key)
            #expect(gone?.name == nil)
        }
    }

    @Test(arguments: [KeyKind.systemV, .legacy])
    func `tells who used a System V segment last, and when`(kind: KeyKind) throws {
        try withTemporaryKey(kind) { key in
            let before = WallTime.now.seconds - 1  // the kernel notes times by its last tick
            let one = try Segment.create(key, byteCount: 10)
            let found = try #require(Self.find(key))
            #expect(found.creatorProcess == Int(getpid()))
            #expect(found.lastProcess == Int(getpid()))
            #expect(try #require(found.lastAttachedAt).seconds >= before)
            #expect(found.lastDetachedAt == nil)
            do { _ = try Segment.attach(key) }
            #expect(try #require(Self.find(key)?.lastDetachedAt).seconds >= before)
            #expect(try one.detach())
        }
    }

    @Test(arguments: KeyKind.allCases)
    func `tells an orphan`(kind: KeyKind) throws {
        try withTemporaryKey(kind) { key in
            try Self.makeOrphan(key)
            let found = try #require(Self.find(key))
            #expect(found.isOrphaned)
            #expect(found.holderCount == 0)
            try removeOrphan(key)
        }
    }

    @Test(arguments: KeyKind.allCases)
    func `counts a holder in another process`(kind: KeyKind) throws {
        try withTemporaryKey(kind) { key in
            let segment = try Segment.create(key, byteCount: 4096)
            let peer = try Peer(key, "segment.attach(); say('attached'); hear()")
            #expect(peer.line() == "attached")
            #expect(Self.find(key)?.holderCount == 2)
            peer.kill()
            // Whoever reads its map just now keeps its memory for a moment.
            let deadline = MonotonicInstant.now.advanced(byMilliseconds: 5_000)
            while Self.find(key)?.holderCount != 1, .now < deadline { usleep(1_000) }
            #expect(Self.find(key)?.holderCount == 1)
            #expect(try segment.detach())
        }
    }

    @Test func `does not take a file's name for a mapping`() throws {
        try withTemporaryKey(.posix) { key in
            try Self.makeOrphan(key)
            var status = stat()
            try #require(stat("/dev/shm\(key.value)", &status) == 0)
            let device = [status.st_dev >> 8, status.st_dev & 0xff]
                .map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined(separator: ":")
            let lookalike = "\(UUID()) \(device) \(status.st_ino) x"
            let path = NSTemporaryDirectory() + "/" + lookalike
            let file = open(path, O_RDWR | O_CREAT | O_EXCL, 0o600)
            try #require(file >= 0)
            defer { unlink(path) }
            try #require(ftruncate(file, 4096) == 0)
            let mapping = mmap(nil, 4096, PROT_READ, MAP_SHARED, file, 0)
            close(file)
            try #require(mapping != MAP_FAILED)
            defer { munmap(mapping, 4096) }
            #expect(Self.find(key)?.holderCount == 0)
            try removeOrphan(key)
        }
    }

    @Test func `counts a process that has a POSIX segment open and does not map it`() throws {
        try withTemporaryKey(.posix) { key in
            try Self.makeOrphan(key)
            let peer = try Peer(key, "file = segment.open(); say('open'); hear()")
            #expect(peer.line() == "open")
            let found = try #require(Self.find(key))
            #expect(found.holderCount == 1)
            #expect(!found.isOrphaned)
            peer.finish()
            try removeOrphan(key)
        }
    }

    @Test(arguments: [UInt8(81), 84])
    func `traces a System V segment to its key file in the temporary directory`(projectID: UInt8)
        throws
    {
        try withTemporaryDirectory { root in
            let key = NativeKey("\(root)/camera", type: .systemV(projectID: projectID))
            let segment = try Segment.create(key, byteCount: 100)
            let identifier = Self.identifier(of: key)
            var host = HostSegments(environment: Self.environment(root))
            let all = host.all()
            let found = try #require(all.first { $0.identifier == identifier })
            #expect(found.name == .key(key))
            #expect(found.creatorProcess == Int(getpid()))
            let traced = host.nativeKey(ofSegment: identifier)
            #expect(traced == key)
            let shown = host.segment(.identifier(identifier))
            #expect(shown?.name == .key(key))
            #expect(try segment.detach())
        }
    }

    @Test func `shows the number of a System V segment whose key file is elsewhere`() throws {
        try withTemporaryDirectory { root in
            let key = NativeKey("\(root)/camera", type: .systemV)
            let segment = try Segment.create(key, byteCount: 100)
            let identifier = Self.identifier(of: key)
            var host = HostSegments(environment: Self.environment("\(root)/elsewhere"))
            let all = host.all()
            let found = try #require(all.first { $0.identifier == identifier })
            #expect(found.name == .identifier(identifier))
            #expect(found.name.description == "shmid:\(identifier)")
            let traced = host.nativeKey(ofSegment: identifier)
            #expect(traced == nil)
            #expect(try segment.detach())
        }
    }

    @Test func `does not take a file with contents, or a lock's, for a key file`() throws {
        try withTemporaryDirectory { root in
            let paths = ["\(root)/report", "\(root)/qipc_systemsem_x"]
            try Data([1]).write(to: URL(filePath: paths[0]))
            try Data().write(to: URL(filePath: paths[1]))
            for path in paths {
                let key = NativeKey(path, type: .systemV)
                let segment = try Segment.create(key, byteCount: 100)
                let identifier = Self.identifier(of: key)
                var host = HostSegments(environment: Self.environment(root))
                let shown = host.segment(.identifier(identifier))
                #expect(shown?.name == .identifier(identifier))
                #expect(try segment.detach())
            }
        }
    }

    @Test func `shows what was removed while somebody holds it`() throws {
        try withTemporaryKey(.systemV) { key in
            let one = try Segment.create(key, byteCount: 100)
            let identifier = Self.identifier(of: key)
            let other = try Segment.attach(key)
            try one.removeByForce()
            var host = HostSegments(environment: .current())
            let shown = host.segment(.identifier(identifier))
            let found = try #require(shown)
            #expect(found.isMarkedForRemoval)
            #expect(found.name == .identifier(identifier))
            #expect(other.hasItsName == false)
            let named = host.segment(.key(key))
            #expect(named?.name == nil)
            let traced = host.nativeKey(ofSegment: identifier)
            #expect(traced == nil)
        }
    }

    @Test func `leaves out semaphores, files being removed, and what is no file`() throws {
        try withTemporaryKey(.posix) { key in
            let segment = try Segment.create(key, byteCount: 100)
            let name = key.posixName
            let removed = "/dev/shm/\(KernelObjects.removalNameOfTests)"
            #expect(link("/dev/shm/\(name)", removed) == 0)
            #expect(mkfifo("/dev/shm/\(name)-fifo", 0o600) == 0)
            #expect(symlink(name, "/dev/shm/\(name)-link") == 0)
            #expect(mkdir("/dev/shm/\(name)-directory", 0o700) == 0)
            defer {
                unlink(removed)
                unlink("/dev/shm/\(name)-fifo")
                unlink("/dev/shm/\(name)-link")
                rmdir("/dev/shm/\(name)-directory")
            }
            #expect(segment.lock?.exists == true)
            var host = HostSegments(environment: .current())
            let names = host.all().map(\.name.description)
            #expect(names.filter { $0.contains(name) } == [key.text])
            #expect(!names.contains { $0.contains(KernelObjects.removalNameOfTests) })
            unlink(removed)
            #expect(try segment.detach())
        }
    }

    @Test func `knows no segment of a Windows key, or of a number nobody has`() {
        var host = HostSegments(environment: .current())
        let found = [
            host.segment(.key(NativeKey("shm_x", type: .windows))),
            host.segment(.identifier(-1)),
        ]
        #expect(found.allSatisfy { $0?.name == nil })
        let traced = host.nativeKey(ofSegment: -1)
        #expect(traced == nil)
    }

    // MARK: Helpers

    /// What the list says, which has to be what is said of the one segment.
    private static func find(_ key: NativeKey) -> SegmentDescription? {
        var host = HostSegments(environment: .current())
        let one = host.segment(.key(key))
        let listed = host.all().first {
            one?.identifier == nil
                ? $0.name == .key(NativeKey(key.value, type: key.type))
                : $0.identifier == one?.identifier
        }
        #expect(listed?.byteCount == one?.byteCount)
        #expect(listed?.owner == one?.owner)
        return one
    }

    private static func makeOrphan(_ key: NativeKey) throws {
        let segment = try Segment.create(key, byteCount: 4096)
        segment.settle()
    }

    private static func identifier(of key: NativeKey) -> CInt {
        shmget(ftok(key.value, CInt(key.type.qtID)), 0, 0)
    }

    private static func environment(_ temporaryDirectory: String) -> KeyEnvironment {
        KeyEnvironment(
            temporaryDirectory: temporaryDirectory, workingDirectory: "/", userID: geteuid(),
            userName: "nobody-in-particular")
    }
}
