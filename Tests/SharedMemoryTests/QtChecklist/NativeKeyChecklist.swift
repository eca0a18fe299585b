import SharedMemory
import Testing

/// The cases of Qt's test program for QNativeIpcKey.
///
/// Without a counterpart: moving, and a key of an invalid type, which cannot be had here (an
/// unreadable text or an unknown number makes no key at all).
@Suite struct tst_qnativeipckey {
    static let types: [(KeyType, String)] = [
        (.posix, "posix"), (.windows, "windows"), (.systemV, "systemv"),
        (.systemV(projectID: 1), "systemv-1"), (.systemV(projectID: 84), "systemv-84"),
        (.systemV(projectID: 255), "systemv-255"),
    ]

    @Test func `defaultTypes: POSIX, and System V for legacy keys`() {
        #expect(Platform.linux.defaultKeyType == .posix)
        #expect(Platform.linux.legacyDefaultKeyType == .systemV)
        #expect(Platform.linux.defaultKeyType.qtID == 256)
        #expect(Platform.linux.legacyDefaultKeyType.qtID == 0x51)
    }

    @Test(arguments: [0, 258, 0xFFFF] as [UInt16])
    func `construct_invalid: numbers without a meaning make no type`(qtID: UInt16) {
        #expect(KeyType(qtID: qtID) == nil)
    }

    @Test(arguments: types)
    func `construct, copy, assign: a copy is equal and leads a life of its own`(
        type: KeyType, scheme: String
    ) {
        let key = NativeKey("key", type: type, legacyKey: "word")
        var copy = key
        #expect(copy == key)
        copy.value = "other"
        #expect(copy != key)
        #expect(key.value == "key" && key.legacyKey == "word")
        copy = key
        #expect(copy == key)
    }

    @Test(arguments: types)
    func `getSetCheck: type and value are what was set`(type: KeyType, scheme: String) {
        var key = NativeKey("", type: .posix)
        key.type = type
        key.value = "key1"
        #expect(key.type == type && key.value == "key1")
        key.value = ""
        #expect(key.value.isEmpty)
    }

    @Test func `equality: type, value and legacy key decide`() {
        let key = NativeKey("key1", type: .posix)
        #expect(key == NativeKey("key1", type: .posix))
        #expect(key != NativeKey("key2", type: .posix))
        #expect(key != NativeKey("key1", type: .windows))
        #expect(key != NativeKey("key1", type: .posix, legacyKey: "word"))
        var cleared = NativeKey("key1", type: .posix, legacyKey: "word")
        cleared.value = "key1"
        #expect(cleared == key, "set to the text it has, a value forgets where it came from")
    }

    @Test(arguments: types)
    func `hash: equal keys have equal hashes`(type: KeyType, scheme: String) {
        let key = NativeKey("key1", type: type)
        #expect(key.hashValue == NativeKey("key1", type: type).hashValue)
        #expect(
            Set([key, NativeKey("key1", type: type), NativeKey("key2", type: type)]).count == 2)
    }

    @Test func `swap: exchanges everything`() {
        var one = NativeKey("key1", type: .posix, legacyKey: "word")
        var two = NativeKey("key2", type: .windows)
        swap(&one, &two)
        #expect(one == NativeKey("key2", type: .windows))
        #expect(two == NativeKey("key1", type: .posix, legacyKey: "word"))
    }

    @Test(
        arguments: types,
        [
            ("", ""), ("foo", "foo"), ("/foo", "/foo"), ("Global\\foo", "Global\\foo"),
            (":/", ":/"),
            ("/:", "/:"), ("%", "%25"), ("?#", "%3F%23"), ("#?", "%23%3F"), ("//", "/%2F"),
            ("///", "/%2F/"), ("\u{E0}\u{FF}", "\u{E0}\u{FF}"),
            ("\u{3BA}\u{20AC}", "\u{3BA}\u{20AC}"),
        ])
    func `toString: the scheme, a colon and the value, and fromString reads it`(
        type: (KeyType, String), value: (String, String)
    ) {
        let key = NativeKey(value.0, type: type.0)
        #expect(key.text == "\(type.1):\(value.1)")
        #expect(NativeKey(text: key.text) == key)
    }

    @Test(arguments: [
        ("systemv-81:", NativeKey("", type: .systemV)),
        ("systemv-009:", NativeKey("", type: .systemV(projectID: 9))),
        ("systemv-0081:/x", NativeKey("/x", type: .systemV)),
        ("POSIX:/x", NativeKey("/x", type: .posix)),
        ("posix:%2fx", NativeKey("/x", type: .posix)),
        ("posix:/%c3%a0", NativeKey("/\u{E0}", type: .posix)),
        ("posix:/%E2%82%AC", NativeKey("/\u{20AC}", type: .posix)),
        ("posix:/x#fragment", NativeKey("/x", type: .posix)),
        ("posix:/x#fragment?query", NativeKey("/x", type: .posix)),
        ("posix:/x?", NativeKey("/x", type: .posix)),
        ("posix:/x?legacyKey=", NativeKey("/x", type: .posix)),
        ("posix:/x?legacyKey=a&legacyKey=b", NativeKey("/x", type: .posix, legacyKey: "b")),
        ("posix:///x", NativeKey("/x", type: .posix)),
        ("posix:////x", NativeKey("//x", type: .posix)),
    ])
    func `fromString: reads other spellings`(text: String, key: NativeKey) {
        #expect(NativeKey(text: text) == key)
    }

    @Test(arguments: [
        "", ":", "/", "x", "/x", "posix", "systemv", "windows", "systemv-1", ":/x", "foo:/x",
        " posix:/x", "posix :/x", "posix-1:/x", "windows-1:/x", "systemv-:/x", "systemv-0:/x",
        "systemv--1:/x", "systemv-+1:/x", "systemv-256:/x", "systemv-0x51:/x", "systemv-1a:/x",
        "systemv-99999999999999999999:/x", "systemv1:/x", "posix://host/x", "posix://user@/x",
        "posix://:80/x", "posix:/x?foo", "posix:/x?foo=bar", "posix:/x?legacykey=a",
        "posix:/x?legacyKey=a&foo=bar", "posix:/x?&",
    ])
    func `fromString: refuses the rest`(text: String) {
        #expect(NativeKey(text: text) == nil)
    }

    @Test(
        arguments: [KeyType.posix, .systemV, .systemV(projectID: 84)],
        ["one", tst_qsharedmemory.odd, "%", "a=b&c=d", "\u{20AC}"])
    func `legacyKeys: are seen in the text, and come back from it`(type: KeyType, word: String) {
        let key = NativeKey.legacy(word, type: type, for: .memory, environment: .current())
        #expect(key.text.contains("?legacyKey="))
        #expect(NativeKey(text: key.text) == key)
        #expect(isSame(NativeKey(text: key.text)?.legacyKey ?? "", word))
    }
}
