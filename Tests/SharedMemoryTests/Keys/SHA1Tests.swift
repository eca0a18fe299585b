import SharedMemory
import Testing

@Suite struct SHA1Tests {
    @Test(arguments: [
        ("", "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
        ("abc", "a9993e364706816aba3e25717850c26c9cd0d89d"),
        (
            "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "84983e441c3bd26ebaae4aa1f95129e5e54670f1"
        ),
    ])
    func `the published examples give the published digests`(message: String, digest: String) {
        #expect(SHA1.hexadecimalDigest(of: message.utf8) == digest)
    }

    @Test func `a long message gives its published digest`() {
        let message = repeatElement(UInt8(ascii: "a"), count: 1_000_000)
        let digest = "34aa973cd4c4daa4f61eeb2bdbad27316534016f"
        #expect(SHA1.hexadecimalDigest(of: message) == digest)
    }

    @Test(arguments: [
        (55, "c1c8bbdc22796e28c0e15163d20899b65621d65a"),
        (56, "c2db330f6083854c99d4b5bfb6e8f29f201be699"),
        (63, "03f09f5b158a7a8cdad920bddc29b81c18a551f5"),
        (64, "0098ba824b5c16427bd7a1122a5a442a25ec644d"),
        (119, "ee971065aaa017e0632a8ca6c77bb3bf8b1dfc56"),
    ])
    func `padding is right at the edges of a block`(byteCount: Int, digest: String) {
        let message = repeatElement(UInt8(ascii: "a"), count: byteCount)
        #expect(SHA1.hexadecimalDigest(of: message) == digest)
    }
}
