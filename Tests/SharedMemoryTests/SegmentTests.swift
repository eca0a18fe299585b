import Glibc
import SharedMemory
import Synchronization
import Testing

@Suite struct `A segment` {
    @Test(arguments: KeyKind.allCases)
    func `is zero-filled, and shows its bytes to whoever attaches`(kind: KeyKind) throws {
        try withTemporaryKey(kind) { key in
            let one = try Segment.create(key, byteCount: 5000)
            #expect(one.byteCount == 5000)
            #expect(try one.read(at: 0, byteCount: 5000) == [UInt8](repeating: 0, count: 5000))

            let two = try Segment.attach(key)
            #expect(two.byteCount == 5000)
            try one.write([1, 2, 3], at: 4997)
            #expect(try two.read(at: 4996, byteCount: 4) == [0, 1, 2, 3])
            #expect(try two.detach() == false)
            #expect(try one.detach() == true)
            #expect(throws: SegmentError.self) { _ = try Segment.attach(key) }
        }
    }

    @Test(arguments: KeyKind.allCases)
    func `lives until the last of its holders detaches, whoever that is`(kind: KeyKind) throws {
        try withTemporaryKey(kind) { key in
            let creator = try Segment.create(key, byteCount: 10)
            let other = try Segment.attach(key, mode: .readOnly)
            #expect(other.isUsedByOthers == true)
            #expect(try creator.detach() == false)
            #expect(other.isUsedByOthers == false)
            #expect(try other.detach() == true)
        }
    }

    @Test(arguments: KeyKind.allCases)
    func `that is dropped is detached`(kind: KeyKind) throws {
        try withTemporaryKey(kind) { key in
            do { _ = try Segment.create(key, byteCount: 10) }
            let error = #expect(throws: SegmentError.self) { _ = try Segment.attach(key) }
            #expect(error?.code == .notFound)
        }
    }

    @Test(arguments: KeyKind.allCases)
    func `is not created twice`(kind: KeyKind) throws {
        try withTemporaryKey(kind) { key in
            let first = try Segment.create(key, byteCount: 10)
            let lock = try first.requireLock()
            #expect(try lock.tryLock())
            let error = #expect(throws: SegmentError.self) {
                _ = try Segment.create(key, byteCount: 10)
            }
            #expect(error?.code == .alreadyExists)
            #expect(lock.isIntact, "a failing create leaves the lock alone")
            #expect(try first.detach())
        }
    }

    @Test(arguments: KeyKind.allCases, [0, -1, .min])
    func `needs a byte at least`(kind: KeyKind, byteCount: Int) throws {
        try withTemporaryKey(kind) { key in
            let error = #expect(throws: SegmentError.self) {
                _ = try Segment.create(key, byteCount: byteCount)
            }
            #expect(error?.code == .invalidSize)
        }
    }

    @Test(arguments: KeyKind.allCases)
    func `that the system cannot hold is refused and leaves nothing`(kind: KeyKind) throws {
        try withTemporaryKey(kind) { key in
            let error = #expect(throws: SegmentError.self) {
                _ = try Segment.create(key, byteCount: 1 << 50)
            }
            #expect([.outOfResources, .invalidSize].contains(error?.code))
        }
    }

    @Test(arguments: KeyKind.allCases)
    func `refuses to write what is attached read-only, and bytes outside`(kind: KeyKind) throws {
        try withTemporaryKey(kind) { key in
            let segment = try Segment.create(key, byteCount: 16)
            let reader = try Segment.attach(key, mode: .readOnly)
            #expect(
                #expect(throws: SegmentError.self) { try reader.write([1], at: 0) }?.code
                    == .readOnly)
            for (offset, count) in [(-1, 1), (16, 1), (0, 17), (.max, 1), (1, .max)] {
                let error = #expect(throws: SegmentError.self) {
                    _ = try segment.read(at: offset, byteCount: count)
                }
                #expect(error?.code == .outOfRange)
            }
            #expect(try segment.read(at: 16, byteCount: 0) == [])
        }
    }

    @Test(arguments: [AccessMode.readOnly, .readWrite])
    func `whose creator reserved no memory takes none by being read`(mode: AccessMode) throws {
        try withTemporaryKey(.posix) { key in
            let path = "/dev/shm/\(key.posixName)"
            let descriptor = open(path, O_RDWR | O_CREAT | O_EXCL, 0o600)
            try #require(descriptor >= 0 && ftruncate(descriptor, 1 << 20) == 0)
            defer { close(descriptor) }
            var byte: UInt8 = 7
            try #require(pwrite(descriptor, &byte, 1, 500_000) == 1)
            var before = stat()
            try #require(fstat(descriptor, &before) == 0 && before.st_blocks * 512 < 1 << 20)
            let segment = try Segment.attach(key, mode: mode)
            for offset in stride(from: 0, to: segment.byteCount, by: 4096) {
                let bytes = try segment.read(at: offset, byteCount: 4096)
                #expect(bytes.count { $0 != 0 } == (offset == 499_712 ? 1 : 0))
            }
            var after = stat()
            #expect(fstat(descriptor, &after) == 0 && after.st_blocks == before.st_blocks)
            segment.settle()
            unlink(path)
        }
    }

    @Test func `that a peer truncated answers with an error, never with a fault or more bytes`()
        throws
    {
        try withTemporaryKey(.posix) { key in
            let segment = try Segment.create(key, byteCount: 10_000)
            try segment.write([7], at: 100)
            #expect(truncate("/dev/shm/\(key.posixName)", 4000) == 0)
            #expect(try segment.read(at: 100, byteCount: 1) == [7])
            #expect(try segment.currentByteCount() == 4000)
            for offset in [3999, 5000, 9998] {
                #expect(
                    #expect(throws: SegmentError.self) {
                        _ = try segment.read(at: offset, byteCount: 2)
                    }?.code == .truncated)
                #expect(
                    #expect(throws: SegmentError.self) { try segment.write([1, 2], at: offset) }?
                        .code == .truncated)
            }
            var status = stat()
            #expect(stat("/dev/shm/\(key.posixName)", &status) == 0)
            #expect(status.st_size == 4000, "writing makes nothing grow")
            #expect(try segment.detach())
        }
    }

    @Test(arguments: [
        1, 4095, 4096, 4097, 8191, 8192, 8193, 12_287, 12_288, 12_289, 16_383, 16_384,
    ])
    func `has just the bytes that a peer left it, wherever in a page it was cut`(end: Int) throws {
        try withTemporaryKey(.posix) { key in
            let segment = try Segment.create(key, byteCount: 16_384)
            let content = (0..<16_384).map { UInt8(truncatingIfNeeded: $0 &* 7) }
            try segment.write(content, at: 0)
            #expect(truncate("/dev/shm/\(key.posixName)", off_t(end)) == 0)
            for last in [1, 2, 4094, 4095, 4096, 4097, 8190, 8192, 8193, 12_288, 16_383, 16_384] {
                for count in [1, 2, 5000] where count <= last {
                    let offset = last - count
                    if last <= end {
                        let bytes = Array(content[offset..<last])
                        #expect(try segment.read(at: offset, byteCount: count) == bytes)
                        try segment.write(bytes, at: offset)
                    } else {
                        expectFailure(.truncated) {
                            _ = try segment.read(at: offset, byteCount: count)
                        }
                        expectFailure(.truncated) {
                            try segment.write([UInt8](repeating: 1, count: count), at: offset)
                        }
                    }
                }
            }
            #expect(try segment.currentByteCount() == end)
            #expect(try segment.read(at: 0, byteCount: end) == Array(content[..<end]))
            #expect(try segment.detach())
        }
    }

    @Test func `gives no byte that a peer takes away in that moment`() throws {
        try withTemporaryKey(.posix) { key in
            let path = "/dev/shm/\(key.posixName)"
            let (byteCount, end, window) = (3 * 4096, 4096 + 50, 4096..<4096 + 100)
            let segment = try Segment.create(key, byteCount: byteCount)
            let content = [UInt8](repeating: 0xFF, count: byteCount)
            let descriptor = open(path, O_RDWR)
            try #require(descriptor >= 0)
            let round = Atomic<Int>(0)
            let isOver = Atomic<Bool>(false)
            let limit = MonotonicInstant.now.advanced(byMilliseconds: 20_000)
            let peer = TestThread {
                defer { close(descriptor) }
                var cuts = 0
                while !isOver.load(ordering: .acquiring) {
                    if round.load(ordering: .acquiring) == cuts {
                        sched_yield()
                    } else {
                        cuts += ftruncate(descriptor, off_t(end)) == 0 ? 1 : 0
                    }
                }
                return cuts
            }
            defer { isOver.store(true, ordering: .releasing) }
            for _ in 1...300 {
                try #require(truncate(path, off_t(byteCount)) == 0)
                try segment.write(content, at: 0)
                round.add(1, ordering: .releasing)
                var isCut = false
                while !isCut, MonotonicInstant.now < limit {
                    do throws(SegmentError) {
                        let bytes = try segment.read(at: window.lowerBound, byteCount: window.count)
                        #expect(bytes.allSatisfy { $0 == 0xFF })
                    } catch { isCut = error.code == .truncated }
                }
                #expect(isCut)
                #expect(try segment.read(at: 4096, byteCount: 50) == Array(content[..<50]))
            }
            try segment.removeByForce()
            isOver.store(true, ordering: .releasing)
            #expect(peer.join() == 300)
        }
    }

    /// Reads by the name, and tells whether that still led there; nil for what was not there to be read.
    private func readByName(_ segment: borrowing Segment, _ offset: Int, _ count: Int) throws
        -> [UInt8]?
    {
        var isNamed = false
        let bytes = try unsafe [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
            isNamed = try unsafe segment.readByName(
                at: offset, into: UnsafeMutableRawBufferPointer(buffer))
            filled = count
        }
        return isNamed ? bytes : nil
    }

    @Test(arguments: KeyKind.allCases)
    func `read by its name gives nothing once that leads elsewhere`(kind: KeyKind) throws {
        try withTemporaryKey(kind) { key in
            let segment = try Segment.create(key, byteCount: 64)
            try segment.write(Array("old".utf8), at: 8)
            #expect(try readByName(segment, 8, 3) == Array("old".utf8))
            try Segment.attach(key).removeByForce()
            #expect(try readByName(segment, 8, 3) == nil)
            let successor = try Segment.create(key, byteCount: 32)
            #expect(try readByName(segment, 8, 3) == nil)
            #expect(try readByName(successor, 8, 3) == [0, 0, 0])
            #expect(try segment.read(at: 8, byteCount: 3) == Array("old".utf8))
            segment.settle()
            #expect(try successor.detach())
        }
    }

    @Test func `read by its name is not read beyond where a peer truncated it`() throws {
        try withTemporaryKey(.posix) { key in
            let segment = try Segment.create(key, byteCount: 10_000)
            #expect(truncate("/dev/shm/\(key.posixName)", 4000) == 0)
            #expect(try readByName(segment, 3990, 10) == [UInt8](repeating: 0, count: 10))
            // Behind the end in its own page, and in pages that are gone.
            for offset in [3991, 4000, 5000, 9990] {
                expectFailure(.truncated) { _ = try readByName(segment, offset, 10) }
            }
            #expect(try segment.detach())
        }
    }

    /// Reads by the name until it has been the same for so long that the file alone is asked whether it
    /// still has it.
    private func readForLong(_ segment: borrowing Segment) throws {
        let end = MonotonicInstant.now.advanced(byMilliseconds: 2_300)
        while MonotonicInstant.now < end {
            #expect(try readByName(segment, 8, 3) == Array("old".utf8))
            usleep(1_000)
        }
    }

    @Test(arguments: NameChange.allCases)
    func `read by a name for long is not read by it any more once that leads elsewhere`(
        change: NameChange
    ) throws {
        try withTemporaryKey(.posix) { key in
            let path = "/dev/shm/\(key.posixName)"
            let segment = try Segment.create(key, byteCount: 64)
            try segment.write(Array("old".utf8), at: 8)
            try readForLong(segment)
            for _ in 1...50 {
                try change.apply(to: path)
                #expect(try readByName(segment, 8, 3) == nil)
                guard change.canBeUndone else { break }
                try change.undo(at: path)
                #expect(try readByName(segment, 8, 3) == Array("old".utf8))
            }
            if change.canBeUndone {
                try segment.removeByForce()
            } else {
                segment.settle()
                unlink(path)
                segment.lock?.remove()
            }
            unlink(path + NameChange.suffix)
        }
    }

    @Test func `read by a name for long is not read beyond where a peer truncates it`() throws {
        try withTemporaryKey(.posix) { key in
            let segment = try Segment.create(key, byteCount: 64)
            try segment.write(Array("old".utf8), at: 8)
            try readForLong(segment)
            #expect(truncate("/dev/shm/\(key.posixName)", 10) == 0)
            expectFailure(.truncated) { _ = try readByName(segment, 8, 3) }
            #expect(try readByName(segment, 8, 2) == Array("ol".utf8))
            #expect(try segment.detach())
        }
    }

    @Test(arguments: KeyKind.allCases)
    func `lends its bytes in a closure`(kind: KeyKind) throws {
        try withTemporaryKey(kind) { key in
            let segment = try Segment.create(key, byteCount: 8)
            segment.withMutableBytes { $0.storeBytes(of: 0x0102_0304, as: UInt32.self) }
            let value = segment.withBytes { $0.unsafeLoad(as: UInt32.self) }
            #expect(value == 0x0102_0304)
        }
    }

    @Test func `of System V is found by its number as well, without a lock`() throws {
        try withTemporaryKey(.systemV) { key in
            let segment = try Segment.create(key, byteCount: 12)
            try segment.write([9], at: 3)
            let file = ftok(key.value, 81)
            let other = try Segment.attach(identifier: shmget(file, 0, 0))
            #expect(other.lock == nil)
            #expect(try other.read(at: 3, byteCount: 1) == [9])
            #expect(try other.detach() == false)
            #expect(try segment.detach() == true)
        }
    }
}

/// What others may do to the name of a segment.
enum NameChange: CaseIterable {
    case moveAway, remove, replace, exchange

    static let suffix = "-aside"

    var canBeUndone: Bool { self == .moveAway || self == .exchange }

    func apply(to path: String) throws {
        let aside = path + Self.suffix
        switch self {
        case .moveAway: try #require(rename(path, aside) == 0)
        case .remove: try #require(unlink(path) == 0)
        case .replace:
            try make(aside)
            try #require(rename(aside, path) == 0)
        case .exchange:
            if access(aside, F_OK) != 0 { try make(aside) }
            try exchange(path, aside)
        }
    }

    func undo(at path: String) throws {
        let aside = path + Self.suffix
        if self == .moveAway { try #require(rename(aside, path) == 0) }
        if self == .exchange { try exchange(path, aside) }
    }

    private func make(_ path: String) throws {
        let descriptor = open(path, O_RDWR | O_CREAT | O_EXCL, 0o600)
        try #require(descriptor >= 0 && ftruncate(descriptor, 64) == 0)
        close(descriptor)
    }

    private func exchange(_ path: String, _ other: String) throws {
        // Not among the headers that Swift sees.
        typealias Call =
            @convention(c) (
                CInt, UnsafePointer<CChar>, CInt, UnsafePointer<CChar>, UInt32
            ) -> CInt
        let call = unsafeBitCast(try #require(dlsym(nil, "renameat2")), to: Call.self)
        let exchanging: UInt32 = 2
        try #require(call(AT_FDCWD, path, AT_FDCWD, other, exchanging) == 0)
    }
}
