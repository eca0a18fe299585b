import SharedMemory
import Testing

/// Texts that the vectors leave out; the answers are those of Qt 6.11.
@Suite struct NativeKeyTextTests {
    @Test(arguments: [
        ("posix:/a%4g?legacyKey=%41", "posix:/a%254g?legacyKey=A"),
        ("posix:/a%41?legacyKey=%zz%41", "posix:/aA?legacyKey=%25zz%2541"),
        ("posix:/a%41#%zz", "posix:/aA"),
        ("posix:/x?legacyKey=%&legacyKey=%41", "posix:/x?legacyKey=%2541"),
    ])
    func `a malformed escape makes its component literal`(text: String, written: String) {
        #expect(NativeKey(text: text)?.text == written)
    }

    @Test(arguments: [
        ("/%E2%82", "/\u{FFFD}\u{FFFD}"),
        ("/%E2%82%AC%E2%82", "/\u{20AC}\u{FFFD}\u{FFFD}"),
        ("/%E2%28%A1", "/\u{FFFD}(\u{FFFD}"),
        ("/%ED%A0%80", "/\u{FFFD}\u{FFFD}\u{FFFD}"),
        ("/%C0%80", "/\u{FFFD}\u{FFFD}"),
        ("/%C3\u{E9}", "/\u{FFFD}\u{E9}"),
        ("/%EF%BF%BF", "/\u{FFFD}\u{FFFD}\u{FFFD}"),
        ("/%EF%BB%BFx", "/\u{FEFF}x"),
    ])
    func `every bad byte of a path is replaced`(path: String, value: String) throws {
        let key = try #require(NativeKey(text: "posix:" + path))
        #expect(isSame(key.value, value))
    }

    @Test(arguments: [
        ("%E2%82", "\u{FFFD}\u{FFFD}"),
        ("%EF%BF%BFx", "\u{FFFF}x"),
        ("%EF%BB%BFx", "x"),
        ("%EF%BB%BF%EF%BB%BFa", "\u{FEFF}a"),
        ("%2525", "%25"),
        ("a%26legacyKey=b", "a&legacyKey=b"),
    ])
    func `a legacy key is decoded as a file would be`(escaped: String, legacyKey: String) throws {
        let key = try #require(NativeKey(text: "posix:/x?legacyKey=" + escaped))
        #expect(isSame(key.legacyKey ?? "", legacyKey))
    }

    @Test(arguments: [
        "posix:/x?legacyKey=%EF%BB%BF", "posix:/x?legacyKey=b&legacyKey=",
        "posix:/x?legacyKey=b&legacyKey", "posix://@/x", "posix://:/x", "posix://@:/x",
    ])
    func `what is empty is as good as missing`(text: String) {
        #expect(NativeKey(text: text) == NativeKey("/x", type: .posix))
    }

    @Test func `the name of a query's item may be escaped`() {
        #expect(NativeKey(text: "posix:/x?%6cegacyKey=a")?.legacyKey == "a")
    }

    @Test(arguments: [
        "posix://a@/x", "posix://:p@/x", "posix://:@/x", "posix://:0/x", "posix://%41/x",
        "posix:// /x", "posix://[]/x", "posix:/x?=", "posix:/x?&", "posix:/x?legacyKey=a&&",
        "posix:/x?legacyKey%3Da", "posix:/x?%zz", "posix:/x?legacy\u{212A}ey=a",
        "systemv%2d1:/x", "systemv-\u{967}:/x",
    ])
    func `what Qt refuses is refused`(text: String) {
        #expect(NativeKey(text: text) == nil)
    }

    @Test func `a combining character after a delimiter does not hide it`() throws {
        let key = try #require(NativeKey(text: "posix:\u{301}/%41\u{301}?legacyKey=\u{301}a"))
        #expect(isSame(key.value, "\u{301}/A\u{301}"))
        #expect(isSame(key.legacyKey ?? "", "\u{301}a"))
        #expect(NativeKey(text: key.text) == key)
    }
}
