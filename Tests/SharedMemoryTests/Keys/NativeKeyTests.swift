import SharedMemory
import Testing

@Suite struct NativeKeyTests {
    @Test func `a new value drops the legacy key, even if it is the old value`() {
        var key = NativeKey("/x", type: .posix, legacyKey: "word")
        key.value = "/x"
        #expect(key.legacyKey == nil)
    }

    @Test func `a new type keeps the legacy key`() {
        var key = NativeKey("/x", type: .posix, legacyKey: "word")
        key.type = .systemV
        #expect(key.legacyKey == "word")
    }

    @Test func `an empty legacy key is none`() {
        #expect(NativeKey("/x", type: .posix, legacyKey: "") == NativeKey("/x", type: .posix))
    }

    @Test func `keys that differ in anything are unequal`() {
        let key = NativeKey("/x", type: .posix, legacyKey: "word")
        #expect(key != NativeKey("/x", type: .posix))
        #expect(key != NativeKey("/x", type: .posix, legacyKey: "other"))
        #expect(key != NativeKey("/y", type: .posix, legacyKey: "word"))
        #expect(key != NativeKey("/x", type: .systemV, legacyKey: "word"))
    }

    @Test func `the hash leaves the legacy key out`() {
        let key = NativeKey("/x", type: .posix)
        #expect(key.hashValue == NativeKey("/x", type: .posix, legacyKey: "word").hashValue)
    }

    @Test func `composed and decomposed characters make different keys`() {
        let composed = NativeKey("/\u{E9}", type: .posix)
        let decomposed = NativeKey("/e\u{301}", type: .posix)
        #expect(composed.value == decomposed.value)
        #expect(composed != decomposed)
        #expect(
            NativeKey("/x", type: .posix, legacyKey: "\u{E9}")
                != NativeKey("/x", type: .posix, legacyKey: "e\u{301}")
        )
    }
}
