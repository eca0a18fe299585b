import SharedMemory
import Testing

@Suite struct PlatformTests {
    static let sandbox = Platform.appleSandboxed(applicationGroup: "TEAM.group")

    static func environment(_ platform: Platform) -> KeyEnvironment {
        KeyEnvironment(platform: platform, workingDirectory: "/", userID: 0, userName: nil)
    }

    @Test(arguments: [
        (
            Platform.linux, [KeyType.posix, .systemV, .systemV(projectID: 1)], KeyType.posix,
            KeyType.systemV
        ),
        (.apple, [.posix, .systemV, .systemV(projectID: 1)], .posix, .systemV),
        (sandbox, [.posix], .posix, .posix),
        (.windows, [.windows], .windows, .windows),
    ])
    func `a platform has its types and defaults`(
        platform: Platform,
        supported: [KeyType],
        defaultType: KeyType,
        legacyDefaultType: KeyType
    ) {
        let all = [KeyType.posix, .systemV, .systemV(projectID: 1), .windows]
        #expect(all.filter(platform.supports) == supported)
        #expect(platform.defaultKeyType == defaultType)
        #expect(platform.legacyDefaultKeyType == legacyDefaultType)
    }

    @Test(arguments: [Platform.linux, .apple, sandbox, .windows])
    func `an unsupported type gives an empty key`(platform: Platform) {
        let environment = Self.environment(platform)
        for type in [KeyType.posix, .systemV, .windows] where !platform.supports(type) {
            let empty = NativeKey("", type: type)
            #expect(NativeKey.platformSafe("x", type: type, environment: environment) == empty)
            for purpose in KeyPurpose.allCases {
                let legacy = NativeKey.legacy(
                    "x", type: type, for: purpose, environment: environment)
                #expect(legacy == empty)
            }
        }
    }

    @Test(arguments: [
        ("word", "shm_word", "sem_word"),
        ("Global\\word", "Global\\shm_word", "Global\\sem_word"),
        ("Local\\word", "Local\\shm_word", "Local\\sem_word"),
        ("global\\word", "shm_global\\word", "sem_global\\word"),
    ])
    func `Windows names say what they name, behind the session`(
        plain: String,
        memory: String,
        semaphore: String
    ) {
        let values = KeyPurpose.allCases.map { purpose in
            NativeKey.platformSafe(
                plain, type: .windows, for: purpose, environment: Self.environment(.windows)
            ).value
        }
        #expect(values == [memory, semaphore])
    }

    @Test func `a Windows name is cut at 260 UTF-16 code units`() {
        let plain = String(repeating: "\u{1F600}", count: 200)
        let key = NativeKey.platformSafe(
            plain, type: .windows, environment: Self.environment(.windows))
        #expect(key.value.utf16.count == 260)
        #expect(throws: Never.self) { try key.validate(on: .windows) }
    }

    @Test func `a legacy Windows name is the bare name`() {
        let key = NativeKey.legacy(
            "foo", type: .windows, for: .memory, environment: Self.environment(.windows))
        #expect(key.value == "qipc_sharedmemory_foo0beec7b5ea3f0fdbc95d0dd47f3c5bc275da8a33")
        #expect(key.legacyKey == "foo")
    }

    @Test func `Apple's POSIX names are cut to 30 bytes`() {
        let environment = Self.environment(.apple)
        let plain = String(repeating: "n", count: 40)
        let safe = NativeKey.platformSafe(plain, type: .posix, environment: environment)
        let legacy = NativeKey.legacy(
            "foo", type: .posix, for: .memory, environment: environment)
        #expect(safe.value == "/" + plain.prefix(29))
        #expect(legacy.value == "/0beec7b5ea3f0fdbc95d0dd47f3c5")
        #expect(throws: Never.self) { try legacy.validate(on: .apple) }
    }

    @Test func `nothing is added to a name in Apple's sandbox`() {
        let plain = "TEAM.group/shared"
        let environment = Self.environment(Self.sandbox)
        let safe = NativeKey.platformSafe(plain, type: .posix, environment: environment)
        let legacy = NativeKey.legacy(plain, type: .posix, for: .memory, environment: environment)
        #expect(safe == NativeKey(plain, type: .posix))
        #expect(legacy == NativeKey(plain, type: .posix, legacyKey: plain))
        #expect(throws: Never.self) { try safe.validate(on: Self.sandbox) }
    }

    @Test(arguments: ["shared", "/TEAM.group/shared", "TEAM.group/", "OTHER.group/x", "a/b/c"])
    func `a name in Apple's sandbox is group, slash, name`(value: String) {
        let key = NativeKey(value, type: .posix)
        let issue = KeyIssue.outsideApplicationGroup(key, applicationGroup: "TEAM.group")
        #expect(throws: issue) { try key.validate(on: Self.sandbox) }
    }

    @Test func `a name in Apple's sandbox has at most 30 characters`() {
        let anyGroup = Platform.appleSandboxed(applicationGroup: nil)
        let fits = NativeKey("group/" + String(repeating: "n", count: 24), type: .posix)
        let key = NativeKey(fits.value + "n", type: .posix)
        let issue = KeyIssue.nameTooLong(key, count: 31, limit: 30)
        #expect(throws: Never.self) { try fits.validate(on: anyGroup) }
        #expect(throws: issue) { try key.validate(on: anyGroup) }
    }

    @Test(arguments: ["a\\b", "Global\\a\\b", "global\\a"])
    func `a Windows name has a backslash only behind its session`(value: String) {
        let key = NativeKey(value, type: .windows)
        #expect(throws: KeyIssue.containsBackslash(key)) { try key.validate(on: .windows) }
    }
}
