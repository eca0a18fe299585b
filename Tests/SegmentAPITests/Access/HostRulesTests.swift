import Testing

@testable import SegmentAPI

@Suite struct HostRulesTests {
    private func allows(_ field: String, _ rules: HostRules?) throws -> Bool {
        try #require(rules).allow(Array(field.utf8).span)
    }

    @Test(arguments: [
        "127.0.0.1", "127.0.0.1:7070", "127.255.3.4:1", "localhost", "LocalHost:80", "localhost.",
        "localhost.:80", "[::1]", "[::1]:7070", "localhost:",
    ])
    func `loopback is always ours`(field: String) throws {
        #expect(try allows(field, .loopback))
    }

    @Test(arguments: [
        "", ":", ":80", "evil.example", "127.0.0.1.evil.example", "localhost.evil.example",
        "evil.example:7070", "128.0.0.1", "127.0.0", "127.0.0.1.1", "127.0.0.256", "127.0.0.1000",
        "127.0.0.", "127..0.1", "[::2]", "[::1", "::1", "[]", "[::1]x", "localhost:x",
        "localhost:123456", "localhost@evil", "localhost/", "a localhost", "localhost ",
        "2130706433",
        "0x7f.0.0.1", "localhost..", "0.0.0.0", "localhost,evil.example", "[127.0.0.1]",
    ])
    func `nothing else is, nor what is malformed`(field: String) throws {
        #expect(try !allows(field, .loopback))
    }

    @Test func `names that were added are ours too, in any case and with any port`() throws {
        let rules = HostRules(names: [
            "Shm.Example", "10.0.0.7", "fd00::1", "[fd00::2]", "dot.example.",
        ])
        for field in [
            "shm.example", "SHM.example:8080", "10.0.0.7:1", "[fd00::1]:7", "[FD00::2]",
            "dot.example", "shm.example.",
        ] {
            #expect(try allows(field, rules), "\(field)")
        }
        for field in ["example", "a.shm.example", "10.0.0.8", "[fd00::3]"] {
            #expect(try !allows(field, rules), "\(field)")
        }
    }

    @Test func `where every address will do, names do not`() throws {
        let rules = HostRules(names: [], allowsAddresses: true)
        for field in ["10.1.2.3:7070", "[fd00::9]:7070", "0.0.0.0"] {
            #expect(try allows(field, rules), "\(field)")
        }
        for field in ["evil.example", "10.1.2.3.example", "10.1.2.3x"] {
            #expect(try !allows(field, rules), "\(field)")
        }
    }

    @Test(arguments: ["", "a b", "shm.example:80", "http://x", "[", ":", "::g", "ü.example", "a/b"])
    func `what cannot be a name is refused`(name: String) {
        #expect(HostRules(names: [name]) == nil)
    }
}
