import SharedMemory
import Testing

@Suite struct SemaphoreKeyTests {
    static let digest = "0beec7b5ea3f0fdbc95d0dd47f3c5bc275da8a33"

    @Test(arguments: [KeyType.posix, .systemV, .systemV(projectID: 84)])
    func `the lock of a legacy segment is the one Qt derives`(type: KeyType) throws {
        let scenario = try KeyVectors.main
        let environment = scenario.environment(root: "/")
        for plain in Set(scenario.rows.map(\.input)) {
            let keys = KeyPurpose.allCases.map { purpose in
                NativeKey.legacy(plain, type: type, for: purpose, environment: environment)
            }
            #expect(keys[0].semaphoreKey == keys[1])
        }
    }

    @Test(arguments: [
        ("posix:/qipc_sharedmemory_foo", "posix:/qipc_systemsem_foo"),
        ("posix:qipc_sharedmemory_foo", "posix:qipc_systemsem_foo"),
        ("posix:/qipc_sharedmemory_", "posix:/qipc_systemsem_"),
        ("systemv:/tmp/qipc_sharedmemory_foo", "systemv:/tmp/qipc_systemsem_foo"),
        ("systemv-84:/a/b/qipc_sharedmemory_foo", "systemv-84:/a/b/qipc_systemsem_foo"),
        ("systemv:/%2Fqipc_sharedmemory_foo", "systemv:/%2Fqipc_systemsem_foo"),
    ])
    func `a legacy name leads to its lock without the legacy key`(
        memory: String,
        lock: String
    ) throws {
        let key = try #require(NativeKey(text: memory + Self.digest))
        #expect(key.hasLegacyName)
        #expect(key.semaphoreKey == NativeKey(text: lock + Self.digest))
    }

    @Test func `a legacy key decides even where the name tells nothing`() throws {
        let key = NativeKey("/run/camera", type: .systemV, legacyKey: "foo")
        let lock = NativeKey(
            "/run/qipc_systemsem_foo" + Self.digest, type: .systemV, legacyKey: "foo")
        #expect(key.semaphoreKey == lock)
    }

    @Test(arguments: [
        "", "/", "/camera", "/qipc_systemsem_foo" + digest, "/qipc_sharedmemory_foo",
        "/qipc_sharedmemory_foo" + digest.uppercased(), "/qipc_sharedmemory_foo1x" + digest,
        "/qipc_sharedmemory_f\u{E9}" + digest, "/qipc_sharedmemory_foo" + digest + "/",
        "/xqipc_sharedmemory_foo" + digest, "/qipc_sharedmemory_foo\(digest)/x",
        "/qipc_sharedmemory_" + digest.dropLast(),
    ])
    func `every other segment shares its key with its lock`(value: String) {
        for type in [KeyType.posix, .systemV] {
            let key = NativeKey(value, type: type)
            #expect(!key.hasLegacyName)
            #expect(key.semaphoreKey == key)
        }
    }
}
