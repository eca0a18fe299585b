import SharedMemory
import Testing

@Suite struct KeyValidationTests {
    static let longName = String(repeating: "n", count: 252)

    @Test(arguments: [
        "posix:x", "posix:/x", "posix:/%2Fx", "posix:/a b%3F", "posix:/...", "posix:/\u{E9}",
        "posix:/" + longName.dropLast(), "posix:/%2F" + longName.dropLast(),
        "systemv:/tmp/x", "systemv:/a/./b", "systemv:/a/..b/c..", "systemv-1:/x",
        "systemv:/" + longName + "nnn",
        "systemv:" + String(repeating: "/" + longName, count: 16) + "/" + longName.dropLast(206),
    ])
    func `what the kernel takes is valid`(text: String) throws {
        let key = try #require(NativeKey(text: text))
        #expect(throws: Never.self) { try key.validate() }
    }

    @Test(arguments: ["posix:", "systemv:"])
    func `an empty key is refused`(text: String) throws {
        try expect(text, fails: KeyIssue.empty)
    }

    @Test(arguments: ["posix:/a%00b", "systemv:/tmp/a%00", "posix:%00"])
    func `a NUL is refused`(text: String) throws {
        try expect(text, fails: KeyIssue.containsNUL)
    }

    @Test(arguments: ["posix:/", "posix:/%2F", "posix:/%2F/"])
    func `slashes alone are no POSIX name`(text: String) throws {
        try expect(text, fails: KeyIssue.onlySlashes)
    }

    @Test(arguments: ["posix:/a/b", "posix:a/", "posix:/../x", "posix:/%2Fabs/path"])
    func `a POSIX name has no slash inside`(text: String) throws {
        try expect(text, fails: KeyIssue.containsSlash)
    }

    @Test(arguments: ["posix:/.", "posix:/..", "posix:.", "posix:/%2F.."])
    func `a POSIX name is no directory`(text: String) throws {
        try expect(text, fails: KeyIssue.namesDirectory)
    }

    @Test(arguments: ["posix:/" + longName, "posix:/%2F" + longName])
    func `a POSIX name leaves room for the name of its lock`(text: String) throws {
        try expect(text) { .nameTooLong($0, count: 252, limit: 251) }
    }

    @Test func `the length of a name is in bytes`() throws {
        let name = String(repeating: "\u{E9}", count: 126)
        try expect("posix:/" + name) { .nameTooLong($0, count: 252, limit: 251) }
    }

    @Test(arguments: ["systemv:x", "systemv:tmp/x", "systemv:./x", "systemv:../x"])
    func `a System V path is absolute`(text: String) throws {
        try expect(text, fails: KeyIssue.relativePath)
    }

    @Test(arguments: ["systemv:/..", "systemv:/tmp/../etc/x", "systemv:/tmp/.."])
    func `a System V path does not climb`(text: String) throws {
        try expect(text, fails: KeyIssue.parentComponent)
    }

    @Test func `a component of a System V path is a file name`() throws {
        let name = Self.longName + "nnnn"
        try expect("systemv:/tmp/\(name)/x") { .nameTooLong($0, count: 256, limit: 255) }
    }

    @Test func `a System V path fits into the kernel's buffer`() throws {
        let path = String(repeating: "/n", count: 2048)
        try expect("systemv:" + path) { .pathTooLong($0, count: 4096, limit: 4095) }
    }

    @Test func `a project id of zero is refused`() {
        let key = NativeKey("/x", type: .systemV(projectID: 0))
        #expect(throws: KeyIssue.zeroProjectID(key)) { try key.validate() }
    }

    @Test func `a Windows key is refused on Linux`() throws {
        try expect("windows:x", fails: KeyIssue.unsupportedType)
    }

    @Test(arguments: ["posix:x", "posix:/x", "posix:/%2Fx", "posix:////x"])
    func `slashes in front do not make another POSIX object`(text: String) throws {
        #expect(try #require(NativeKey(text: text)).posixName == "x")
    }

    @Test func `an issue reads as a sentence with the key in it`() {
        let key = NativeKey("/a\0b", type: .posix)
        #expect(
            KeyIssue.containsNUL(key).description
                == "The key \"posix:/a%00b\" contains a NUL character."
        )
    }

    private func expect(_ text: String, fails issue: (NativeKey) -> KeyIssue) throws {
        let key = try #require(NativeKey(text: text))
        #expect(throws: issue(key)) { try key.validate() }
    }
}
