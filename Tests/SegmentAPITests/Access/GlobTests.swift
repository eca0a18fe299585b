import Testing

@testable import SegmentAPI

@Suite struct GlobTests {
    @Test(arguments: [
        ("camera", "camera"), ("*", ""), ("*", "a/b"), ("cam*", "cam"), ("cam*", "camera"),
        ("*era", "camera"), ("c*m*a", "camera"), ("posix:/*", "posix:/a/b"), ("?amera", "camera"),
        ("[a-c]amera", "camera"), ("[!x]amera", "camera"), ("[]x]", "]"), ("[a-]", "-"),
        ("\\*", "*"), ("[*]", "*"), ("a\\[b", "a[b"), ("?", "é"), ("**a", "ba"), ("a*b*c", "abcbc"),
    ])
    func `a pattern fits`(pattern: String, text: String) throws {
        #expect(try #require(Glob(pattern)).matches(text))
    }

    @Test(arguments: [
        ("camera", "Camera"), ("camera", "camera2"), ("camera", "my-camera"), ("?", ""),
        ("?", "ab"), ("cam*", "ca"), ("*era", "erab"), ("[a-c]", "d"), ("[!a-c]", "b"),
        ("[!a]", ""), ("\\*", "x"), ("a*b", "ac"), ("*a*b", "ba"),
    ])
    func `a pattern does not fit`(pattern: String, text: String) throws {
        #expect(!(try #require(Glob(pattern)).matches(text)))
    }

    @Test(arguments: ["", "[", "[a", "[]", "[!]", "[z-a]", "a\\", "\\"])
    func `what is malformed is no pattern`(text: String) { #expect(Glob(text) == nil) }

    @Test func `many runs take no longer than a few`() throws {
        let pattern = try #require(Glob(String(repeating: "*a", count: 200) + "b"))
        let text = String(repeating: "a", count: 4_000)
        let start = ContinuousClock.now
        #expect(!pattern.matches(text))
        #expect(ContinuousClock.now - start < .seconds(10))
    }

    @Test func `a literal is told from a pattern`() throws {
        #expect(try #require(Glob("a\\*b")).literal == "a*b")
        #expect(try #require(Glob("a*b")).literal == nil)
        #expect(Glob(literally: "*?").matches("*?") && !Glob(literally: "*?").matches("ab"))
    }
}
