import SegmentAPI
import Testing

struct PercentEncodingTests {
    @Test(arguments: [
        ("", ""), ("camera", "camera"), ("posix:%2Fname", "posix:/name"), ("a+b", "a+b"),
        ("%2B%2b", "++"), ("%C3%A9", "é"), ("%00", "\u{0}"), ("%25%32%35", "%25"), ("é", "é"),
        ("%F0%9F%98%80", "😀"), ("a%20b", "a b"), ("%2e%2E", ".."),
    ])
    func `a component of a path is decoded`(raw: String, text: String) throws {
        #expect(try PercentEncoding.decodePathComponent(raw.utf8).utf8.elementsEqual(text.utf8))
    }

    @Test func `a plus sign is a space in a query only`() throws {
        #expect(try PercentEncoding.decodeQueryPart("a+b%2Bc".utf8) == "a b+c")
        #expect(try PercentEncoding.decodePathComponent("a+b%2Bc".utf8) == "a+b+c")
    }

    @Test(arguments: [
        ("%", 0), ("a%", 1), ("a%4", 1), ("%%41", 0), ("%4", 0), ("%G0", 0), ("%0G", 0),
        ("%41%+1", 3), ("% 1", 0), ("%é1", 0), ("%41%41%", 6),
    ])
    func `an escape without its digits is refused`(raw: String, offset: Int) {
        #expect(throws: PercentEncoding.Flaw.incompleteEscape(offset: offset)) {
            try PercentEncoding.decodePathComponent(raw.utf8)
        }
    }

    @Test(arguments: [
        "%C0%80", "%FF", "%80", "%C3", "%C3a", "%ED%A0%80", "%E0%80%AF", "%F4%90%80%80",
    ])
    func `escapes that are not UTF-8 are refused`(raw: String) {
        #expect(throws: PercentEncoding.Flaw.notUTF8) {
            try PercentEncoding.decodePathComponent(raw.utf8)
        }
    }

    @Test func `raw bytes that are not UTF-8 are refused`() {
        #expect(throws: PercentEncoding.Flaw.notUTF8) {
            try PercentEncoding.decodePathComponent([0x61, 0xC3])
        }
    }

    @Test(arguments: [
        ("", ""), (".", "%2E"), ("..", "%2E%2E"), ("...", "..."), (".a", ".a"),
        ("posix:/name", "posix%3A%2Fname"), ("a b+c", "a%20b%2Bc"), ("é", "%C3%A9"),
        ("-._~:", "-._~%3A"), ("\u{0}%?#", "%00%25%3F%23"), ("\u{FF}\u{7F}", "%C3%BF%7F"),
    ])
    func `a text is encoded as one component`(text: String, encoded: String) {
        #expect(PercentEncoding.encodePathComponent(text) == encoded)
    }

    @Test func `random texts survive the way out and back`() throws {
        var random = SeededGenerator(seed: 3)
        for _ in 0..<2000 {
            let text = randomText(&random)
            let encoded = PercentEncoding.encodePathComponent(text)
            let decoded = try PercentEncoding.decodePathComponent(encoded.utf8)
            #expect(decoded.utf8.elementsEqual(text.utf8))
            #expect(!encoded.utf8.contains(UInt8(ascii: "/")))
        }
    }

    @Test func `random bytes are decoded or refused but never fatal`() {
        var random = SeededGenerator(seed: 4)
        for _ in 0..<5000 {
            let count = Int.random(in: 0..<12, using: &random)
            let raw = (0..<count).map { _ in "%%%+4aF\u{80}".utf8.randomElement(using: &random) ?? 0
            }
            _ = try? PercentEncoding.decodePathComponent(raw)
            _ = try? PercentEncoding.decodeQueryPart(raw)
        }
    }
}
