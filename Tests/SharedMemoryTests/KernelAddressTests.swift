import Foundation
import Glibc
import SharedMemory
import Testing

@Suite struct `A segment's address` {
    @Test(arguments: ["posix:x", "posix:/x", "posix:/%2Fx", "posix:/x?legacyKey=word"])
    func `is one for all spellings of a POSIX name`(text: String) throws {
        let key = try #require(NativeKey(text: text))
        #expect(try SegmentName.key(key).address() == .posix(Array("x".utf8)))
    }

    @Test(arguments: [KeyKind.legacy, .legacyPOSIX])
    func `is one for a legacy key and the native key derived from it`(kind: KeyKind) throws {
        try withTemporaryKey(kind) { key in
            let segment = try Segment.create(key, byteCount: 1)
            let native = NativeKey(key.value, type: key.type)
            let address = try SegmentName.key(key).address()
            #expect(key != native)
            #expect(try SegmentName.key(native).address() == address)
            #expect(address != nil)
            #expect(try segment.detach())
        }
    }

    @Test func `is one for hard links of a key file, and for its number`() throws {
        try withTemporaryDirectory { root in
            let key = NativeKey("\(root)/one", type: .systemV)
            let link = NativeKey("\(root)/two", type: .systemV)
            let segment = try Segment.create(key, byteCount: 1)
            try #require(Glibc.link(key.value, link.value) == 0)
            let address = try SegmentName.key(key).address()
            #expect(try SegmentName.key(link).address() == address)
            let identifier = shmget(ftok(key.value, 81), 0, 0)
            #expect(try SegmentName.identifier(identifier).address() == address)
            #expect(try Segment.attach(link).detach() == false)
            #expect(try segment.detach())
        }
    }

    @Test func `differs between project ids of one file`() throws {
        try withTemporaryDirectory { root in
            try Data().write(to: URL(filePath: "\(root)/file"))
            let addresses = try [UInt8(81), 84].map {
                let key = NativeKey("\(root)/file", type: .systemV(projectID: $0))
                return try SegmentName.key(key).address()
            }
            #expect(addresses[0] != addresses[1])
        }
    }

    @Test func `differs between a composed and a decomposed character`() throws {
        let composed = try SegmentName.key(NativeKey("/\u{E9}", type: .posix)).address()
        let decomposed = try SegmentName.key(NativeKey("/e\u{301}", type: .posix)).address()
        #expect(composed == .posix([0xC3, 0xA9]))
        #expect(composed != decomposed)
    }

    @Test func `is none for a key file or a number that is not there`() throws {
        try withTemporaryDirectory { root in
            for path in ["\(root)/missing", "\(root)/missing/below"] {
                let name = SegmentName.key(NativeKey(path, type: .systemV))
                #expect(try name.address() == nil)
            }
            let address = try SegmentName.identifier(-1).address()
            #expect(address == nil)
        }
    }

    @Test(arguments: ["posix:", "posix:/", "posix:/a/b", "posix:/..", "systemv:x", "windows:x"])
    func `is refused to a key that can name nothing`(text: String) throws {
        let key = try #require(NativeKey(text: text))
        expectFailure(.keyError) { try SegmentName.key(key).address() }
    }

    @Test func `may make a key file, which is discarded unless a segment has it`() throws {
        try withTemporaryDirectory { root in
            let key = NativeKey("\(root)/file", type: .systemV)
            let name = SegmentName.key(key)
            let made = try #require(try name.addressMakingKeyFile())
            #expect(made.madeFile)
            #expect(try name.addressMakingKeyFile()?.madeFile == false)
            name.discardKeyFile()
            #expect(try name.address() == nil)

            let segment = try Segment.create(key, byteCount: 1)
            name.discardKeyFile()
            #expect(try name.address() != nil)
            #expect(try segment.detach())
        }
    }
}
