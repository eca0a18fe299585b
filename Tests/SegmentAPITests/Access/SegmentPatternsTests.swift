import SegmentService
import SharedMemory
import Testing

@testable import SegmentAPI

@Suite struct SegmentPatternsTests {
    private static let environment = KeyEnvironment(
        temporaryDirectory: "/tmp", workingDirectory: "/", userID: 1000, userName: "user")

    private func texts(_ id: String) throws -> SegmentTexts {
        SegmentTexts(try #require(SegmentName(id: id)), environment: Self.environment)
    }

    private func patterns(_ texts: String...) throws -> SegmentPatterns {
        SegmentPatterns(
            try texts.map { try #require(Glob($0)) }, environment: Self.environment)
    }

    /// The segment of a plain key, as a client names it who knows the key, or one who does not.
    private func legacy(_ plain: String, knowsKey: Bool = true, _ type: KeyType = .systemV)
        -> SegmentTexts
    {
        var key = NativeKey.legacy(plain, type: type, for: .memory, environment: Self.environment)
        if !knowsKey { key = NativeKey(key.value, type: key.type) }
        return SegmentTexts(.key(key), environment: Self.environment)
    }

    @Test(arguments: [
        "posix:/cam", "posix:cam", "posix:/%2Fcam", "posix://@/cam", "posix:/cam?legacyKey=other",
    ])
    func `every way to write a POSIX key is the same`(id: String) throws {
        #expect(try texts(id).native == "posix:/cam")
        #expect(try patterns("posix:/cam").fit(texts(id)))
        #expect(try !patterns("other").fit(texts(id)), "not what somebody wrote behind it")
    }

    @Test(arguments: [
        "systemv:/tmp/x", "systemv:/tmp//x", "systemv:/./tmp/./x", "systemv-81:/tmp/x",
    ])
    func `every way to write a System V key is the same`(id: String) throws {
        #expect(try patterns("systemv:/tmp/x").fit(texts(id)))
    }

    @Test func `another project id is another key`() throws {
        #expect(try !patterns("systemv:/tmp/x").fit(texts("systemv-66:/tmp/x")))
        #expect(try patterns("systemv-66:*").fit(texts("systemv-66:/tmp/x")))
    }

    @Test func `a pattern may be for the id, the native key or the plain key`() throws {
        let camera = legacy("camera 1")
        for pattern in ["camera 1", "cam*", "systemv:/tmp/qipc_*", camera.id.description] {
            #expect(try patterns(pattern).fit(camera), "\(pattern)")
        }
        #expect(try !patterns("amera*").fit(camera))
        #expect(try patterns("shmid:1?").fit(texts("shmid:12")))
    }

    @Test(arguments: [KeyType.systemV, .posix])
    func `a plain key without wildcards fits whoever names the segment`(type: KeyType) throws {
        #expect(try patterns("camera-1").fit(legacy("camera-1", knowsKey: false, type)))
        #expect(try !patterns("camera-1").fit(legacy("camera-2", knowsKey: false, type)))
    }

    @Test func `a lie about the plain key counts for nothing`() throws {
        let secret = NativeKey.legacy(
            "secret", type: .systemV, for: .memory, environment: Self.environment)
        let lie = SegmentTexts(
            .key(NativeKey(secret.value, type: .systemV, legacyKey: "public")),
            environment: Self.environment)
        #expect(lie.plain == nil)
        #expect(try !patterns("public").fit(lie))
        #expect(try patterns("secret*").mayFit(lie))
    }

    @Test func `what is to be hidden is, though its plain key is not known`() throws {
        let unknown = legacy("secret-1", knowsKey: false)
        #expect(try !patterns("secret*").fit(unknown))
        for pattern in ["secret*", "s?cret-[0-9]", "*ret-1", "secret-1"] {
            #expect(try patterns(pattern).mayFit(unknown), "\(pattern)")
        }
        #expect(try !patterns("public*").mayFit(unknown))
        #expect(try !patterns("secret*").mayFit(legacy("secre-1")))
        #expect(try !patterns("secret*").mayFit(texts("posix:/x")))
    }
}
