import SegmentAPI
import Testing

struct ByteRangeTests {
    static let far = Int.max - 1

    @Test(arguments: [
        ("bytes=0-15", ByteRange.Part.from(0, through: 15)), ("bytes=5-", .from(5, through: nil)),
        ("bytes=-5", .suffix(5)), ("Bytes=1-1", .from(1, through: 1)),
        ("BYTES= 1-2 ", .from(1, through: 2)), ("bytes=,1-2,", .from(1, through: 2)),
        ("bytes= ,, 1-2 ,\t", .from(1, through: 2)), ("bytes=-0", .suffix(0)),
        ("bytes=007-0010", .from(7, through: 10)),
        ("bytes=0-99999999999999999999", .from(0, through: far)),
        ("bytes=99999999999999999999-", .from(far, through: nil)),
        ("bytes=-99999999999999999999", .suffix(far)),
        ("bytes=9223372036854775807-9223372036854775808", .from(far, through: far)),
    ])
    func `one part is understood`(field: String, part: ByteRange.Part) {
        #expect(ByteRange(field) == .one(part))
    }

    @Test(arguments: ["bytes=0-1,3-4", "bytes=0-1 , -5", "bytes=0-,0-", "bytes=0-1,,2-3"])
    func `several parts are understood`(field: String) {
        #expect(ByteRange(field) == .several)
        #expect(ByteRange(field).resolve(byteCount: 10) == .whole)
    }

    @Test(
        arguments: [
            nil, "", " ", "bytes", "bytes=", "bytes=,", "bytes 0-1", "bytes =0-1", "items=0-1",
            "=0-1",
            "bytes=-", "bytes=a-b", "bytes=5", "bytes=5-4", "bytes=1-2x", "bytes=1--2", "bytes=--1",
            "bytes=1-2,x", "bytes=1-2;3-4", "bytes=0x1-2", "bytes=+1-2", "bytes=1 -2", "bytes=1- 2",
            "bytes=1-2 3-4", "bytes=1.0-2", "bytes=٣-٤", "bytes=5-4,1-2",
        ] as [String?])
    func `what is absent or malformed asks for everything`(field: String?) {
        #expect(ByteRange(field) == .none)
        #expect(ByteRange(field).resolve(byteCount: 10) == .whole)
    }

    @Test(arguments: [
        ("bytes=0-0", 10, ByteRange.Window.part(0..<1)), ("bytes=0-9", 10, .part(0..<10)),
        ("bytes=0-10", 10, .part(0..<10)), ("bytes=9-", 10, .part(9..<10)),
        ("bytes=9-99999999999999999999", 10, .part(9..<10)), ("bytes=10-", 10, .unsatisfiable),
        ("bytes=10-20", 10, .unsatisfiable), ("bytes=99999999999999999999-", 10, .unsatisfiable),
        ("bytes=-1", 10, .part(9..<10)), ("bytes=-10", 10, .part(0..<10)),
        ("bytes=-11", 10, .part(0..<10)), ("bytes=-99999999999999999999", 10, .part(0..<10)),
        ("bytes=-0", 10, .unsatisfiable), ("bytes=0-", 0, .unsatisfiable), ("bytes=-5", 0, .whole),
        ("bytes=0-99999999999999999999", Int.max, .part(0..<Int.max)),
        ("bytes=-1", Int.max, .part(Int.max - 1..<Int.max)),
        ("bytes=9223372036854775806-", Int.max, .part(Int.max - 1..<Int.max)),
    ])
    func `a range is applied to a size`(field: String, size: Int, window: ByteRange.Window) {
        #expect(ByteRange(field).resolve(byteCount: size) == window)
    }

    @Test func `a megabyte of commas or digits is no trouble`() {
        let commas = String(repeating: ",", count: 1_000_000)
        #expect(ByteRange("bytes=" + commas) == .none)
        #expect(ByteRange("bytes=" + commas + "1-2") == .one(.from(1, through: 2)))
        let digits = String(repeating: "9", count: 1_000_000)
        #expect(ByteRange("bytes=" + digits + "-") == .one(.from(Self.far, through: nil)))
    }
}

struct ContentRangeTests {
    @Test(
        arguments: [
            ("bytes 0-15/*", 0..<16, nil), ("bytes 0-15/16", 0..<16, 16), ("Bytes 3-3/4", 3..<4, 4),
            (" bytes 0-0/* ", 0..<1, nil),
            ("bytes 99999999999999999999-99999999999999999999/*", Int.max - 1..<Int.max, nil),
            ("bytes 0-0/99999999999999999999", 0..<1, Int.max),
        ] as [(String, Range<Int>, Int?)])
    func `a part is understood`(field: String, bytes: Range<Int>, complete: Int?) throws {
        let range = try ContentRange(field)
        #expect(range.bytes == bytes)
        #expect(range.completeByteCount == complete)
    }

    @Test(arguments: [
        "", "bytes", "bytes */16", "bytes */*", "bytes=0-1/*", "bytes 0-1", "bytes 0-1/",
        "bytes -1/*",
        "bytes 0-/*", "bytes 5-4/*", "bytes 0-16/16", "bytes 0-0/0", "items 0-1/*", "bytes 0-1/*x",
        "bytes 0-1/2/3", "bytes  0-1/*", "bytes 0 - 1/*", "bytes 0-1/-2", "bytes +0-1/*",
        "bytes 0-1,2-3/*", "bytes 0-1/2 3", "bytes 99999999999999999999-1/*",
    ])
    func `anything else is refused with a sentence`(field: String) {
        let flaw = #expect(throws: ContentRange.Flaw.self) { try ContentRange(field) }
        #expect(flaw?.description.isEmpty == false)
    }

    @Test func `the fields of answers are written`() {
        #expect(ContentRange.field(0..<16, of: 32) == "bytes 0-15/32")
        #expect(
            ContentRange.field(Int.max - 1..<Int.max, of: .max)
                == "bytes 9223372036854775806-9223372036854775806/9223372036854775807")
        #expect(ContentRange.unsatisfiedField(of: 32) == "bytes */32")
    }
}
