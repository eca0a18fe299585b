import SharedMemory
import Testing

@testable import SegmentAPI

@Suite struct TokenFileTests {
    private static let environment = KeyEnvironment(
        temporaryDirectory: "/tmp", workingDirectory: "/", userID: 1000, userName: "user")

    private func tokens(_ text: String) throws -> TokenSet {
        TokenSet(try TokenFile(Array(text.utf8)), environment: Self.environment)
    }

    private func flaw(_ text: String) -> TokenFile.Flaw? {
        #expect(throws: TokenFile.Flaw.self) { _ = try TokenFile(Array(text.utf8)) }
    }

    private func caller(_ token: String, _ tokens: TokenSet) -> Caller? {
        tokens.caller(presenting: Array(token.utf8).span)
    }

    @Test func `each line is a token, its role and its patterns`() throws {
        let tokens = try tokens(
            """
            # those who look
            abc inspect

              d-._~+/E==\tuse  posix:/cam* camera   # a comment
            ghi admin\r
            #jkl admin
            """)
        #expect(tokens.count == 3)
        let inspector = try #require(caller("abc", tokens))
        #expect(inspector.role == .inspect && inspector.tokenLine == 2)
        #expect(inspector.segments == nil)
        let user = try #require(caller("d-._~+/E==", tokens))
        #expect(user.role == .use && user.tokenLine == 4)
        #expect(user.segments != nil)
        #expect(caller("ghi", tokens)?.role == .admin)
    }

    @Test(arguments: ["", "ab", "abcd", "ABC", "abc ", "abc\0", "abb", "jkl"])
    func `no other text is a token`(token: String) throws {
        #expect(caller(token, try tokens("abc inspect\nxyz use")) == nil)
    }

    @Test func `a token as long as may be is one, and nothing longer`() throws {
        let longest = String(repeating: "x", count: 256)
        let tokens = try tokens(longest + " use")
        #expect(caller(longest, tokens)?.role == .use)
        #expect(caller(longest + "y", tokens) == nil)
        #expect(caller(longest + String(repeating: "x", count: 256), tokens) == nil)
        #expect(caller(String(longest.dropLast()), tokens) == nil)
        #expect(flaw("ok use\n\(longest)x use")?.line == 2)
    }

    @Test(arguments: [
        ("abc", 1), ("\n\nabc", 3), ("abc owner", 1), ("abc Inspect", 1), ("a:b use", 1),
        ("\"abc\" use", 1), ("== use", 1), ("=a use", 1), ("abc use\nabc use", 2), ("abc use [", 1),
        ("abc use\ndef use a\\", 2), ("a\u{e9}b use", 1), ("abc # use", 1),
    ])
    func `a malformed line is named, and its token is not`(text: String, line: Int) {
        let found = flaw(text)
        #expect(found?.line == line)
        #expect(found?.description.contains("abc") == false)
    }

    @Test(arguments: ["", "\n", "# abc use\n"])
    func `a file that lets nobody in is no use`(text: String) { #expect(flaw(text)?.line == nil) }

    @Test func `what is not UTF-8 is refused`() {
        let flaw = #expect(throws: TokenFile.Flaw.self) {
            _ = try TokenFile(Array("abc use\n".utf8) + [0x61, 0xff, 0x20])
        }
        #expect(flaw?.line == 2)
    }

    @Test func `any octets are read or refused`() {
        var generator = SeededGenerator(seed: 7)
        for _ in 0..<2_000 {
            let count = Int.random(in: 0...40, using: &generator)
            let bytes = (0..<count).map { _ in
                Array("ab \t\n#[]*?\\-!use admin\u{e9}".utf8).randomElement(using: &generator) ?? 0
            }
            _ = try? TokenFile(bytes)
        }
    }

    @Test func `a role includes those before it`() {
        #expect(Role.inspect < .use && Role.use < .admin && !(Role.admin < .use))
    }
}
