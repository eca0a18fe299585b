import Foundation
import Glibc
import SharedMemory
import Testing

/// `withTemporaryKey` checks that nothing is left; these tests fail `create` at each of its steps.
@Suite struct `A create that fails` {
    @Test(arguments: [KeyKind.posix, .legacyPOSIX], ObjectInTheWay.allCases)
    func `because something else has the name says that it exists, and leaves it`(
        kind: KeyKind, object: ObjectInTheWay
    ) throws {
        try withTemporaryKey(kind) { key in
            try object.with("/dev/shm/\(key.posixName)") {
                expectFailure(.alreadyExists) { _ = try Segment.create(key, byteCount: 10) }
                #expect(!SegmentLock(ofSegment: key).exists)
            }
        }
    }

    @Test(arguments: [KeyKind.posix, .legacyPOSIX], ObjectInTheWay.allCases)
    func `because its lock's name leads to no semaphore leaves that, and no segment`(
        kind: KeyKind, object: ObjectInTheWay
    ) throws {
        try withTemporaryKey(kind) { key in
            try object.with("/dev/shm/sem.\(key.semaphoreKey.posixName)") {
                let refused = code { _ = try Segment.create(key, byteCount: 10) }
                #expect([.keyError, .lockError].contains(refused))
                expectFailure(.notFound) { _ = try Segment.attach(key) }
            }
        }
    }

    @Test(arguments: [KeyKind.posix, .legacyPOSIX], [0, 1, 16, 31])
    func `because its lock is too small leaves that, and no segment`(kind: KeyKind, byteCount: Int)
        throws
    {
        try withTemporaryKey(kind) { key in
            let path = "/dev/shm/sem.\(key.semaphoreKey.posixName)"
            try Data(count: byteCount).write(to: URL(filePath: path))
            defer { unlink(path) }
            expectFailure(.lockError) { _ = try Segment.create(key, byteCount: 10) }
            expectFailure(.notFound) { _ = try Segment.attach(key) }
            var status = stat()
            #expect(stat(path, &status) == 0)
            #expect(status.st_size == byteCount)
        }
    }

    @Test func `because the key file's directory is missing is a key error`() throws {
        try withTemporaryDirectory { root in
            let key = NativeKey("\(root)/missing/file", type: .systemV)
            expectFailure(.keyError) { _ = try Segment.create(key, byteCount: 10) }
            let names = try FileManager.default.contentsOfDirectory(atPath: root)
            #expect(names.isEmpty)
        }
    }

    @Test func `because the key file would lie below a file is a key error`() throws {
        try withTemporaryDirectory { root in
            try Data().write(to: URL(filePath: "\(root)/file"))
            let key = NativeKey("\(root)/file/below", type: .systemV)
            expectFailure(.keyError) { _ = try Segment.create(key, byteCount: 10) }
            let names = try FileManager.default.contentsOfDirectory(atPath: root)
            #expect(names == ["file"])
        }
    }

    @Test func `because the key file is a link to nowhere makes nothing there`() throws {
        try withTemporaryDirectory { root in
            try #require(symlink("\(root)/nowhere", "\(root)/link") == 0)
            let key = NativeKey("\(root)/link", type: .systemV)
            expectFailure(.keyError) { _ = try Segment.create(key, byteCount: 10) }
            let names = try FileManager.default.contentsOfDirectory(atPath: root)
            #expect(names == ["link"])
        }
    }

    // Where SHMMAX is larger than any number asked for here, the machine's memory is the limit.
    @Test(arguments: [KeyKind.systemV, .systemVOtherProject, .legacy])
    func `because the kernel's largest size is exceeded leaves nothing`(kind: KeyKind) throws {
        let text = try String(contentsOfFile: "/proc/sys/kernel/shmmax", encoding: .ascii)
        let largest = Int(text.trimmingCharacters(in: .whitespacesAndNewlines)) ?? .max
        let isBelow = largest < Int.max
        try withTemporaryKey(kind) { key in
            let refused = code {
                _ = try Segment.create(key, byteCount: isBelow ? largest + 1 : .max)
            }
            #expect(isBelow ? refused == .invalidSize : refused != nil)
            expectFailure(.notFound) { _ = try Segment.attach(key) }
            #expect(!SegmentLock(ofSegment: key).exists)
        }
    }

    @Test(arguments: KeyKind.allCases)
    func `for want of memory keeps the lock that was there before`(kind: KeyKind) throws {
        try withTemporaryKey(kind) { key in
            let lock = SegmentLock(ofSegment: key)
            try #require(try lock.tryLock())
            let refused = code { _ = try Segment.create(key, byteCount: 1 << 50) }
            #expect(refused == .outOfResources || refused == .invalidSize)
            #expect(lock.isIntact)
            lock.remove()
        }
    }

    @Test(arguments: ["posix:", "posix:/", "posix:/a/b", "posix:/.", "systemv:", "systemv:x"])
    func `for a key that can name nothing makes no lock either`(text: String) throws {
        let key = try #require(NativeKey(text: text))
        expectFailure(.keyError) { _ = try Segment.create(key, byteCount: 10) }
        let lock = SegmentLock(ofSegment: key)
        expectFailure(.keyError) { try lock.tryLock() }
        expectFailure(.keyError) { try lock.isFree() }
        #expect(!lock.exists)
        #expect(!FileManager.default.fileExists(atPath: "/dev/shm/sem.\(key.posixName)"))
    }
}

/// What may lie under a name in /dev/shm instead of a file.
enum ObjectInTheWay: String, CaseIterable, Sendable, CustomTestStringConvertible {
    case directory, fifo, link, linkToNowhere

    var testDescription: String { rawValue }

    /// Makes it, and afterwards checks that it is still there.
    func with(_ path: String, _ body: () throws -> Void) throws {
        let made =
            switch self {
            case .directory: mkdir(path, 0o700)
            case .fifo: mkfifo(path, 0o600)
            case .link: symlink("/dev/null", path)
            case .linkToNowhere: symlink("\(path)-nowhere", path)
            }
        try #require(made == 0)
        defer { #expect(remove(path) == 0, "still there") }
        try body()
        #expect(access("\(path)-nowhere", F_OK) == -1, "nothing was made where the link leads")
    }
}
