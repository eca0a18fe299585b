import Foundation
import Glibc
import SharedMemory
import Testing

/// Keys as Qt derived, printed and parsed them, in many environments.
struct KeyVectors: Decodable {
    let scenarios: [Scenario]

    struct Scenario: Decodable {
        let name: String
        let env: Environment
        let rows: [Row]
        let fromString: [Parsed]?
        let equality: Equality?
        let legacySingles: [Legacy]?
        let nativeSingles: [Native]?
    }

    struct Environment: Decodable {
        let TMPDIR: String?
        let XDG_RUNTIME_DIR: String?
        let uid: UInt32
    }

    /// A derivation: `fn` of `input` for memory (`shm`) or a semaphore (`sem`).
    struct Row: Decodable {
        let `class`: String
        let fn: String
        let type: UInt16
        let input: String
        let out: Key
    }

    struct Parsed: Decodable {
        let text: String
        let out: Key
    }

    /// A key in Qt; type 0 is one that could not be parsed.
    struct Key: Decodable {
        let type: UInt16
        let native: String
        let toString: String
    }

    /// Comparisons of the legacy POSIX key of `key1` with itself before and after a change.
    struct Equality: Decodable {
        let legacy_vs_plain_same_native: Bool
        let copy: Bool
        let after_setNativeKey_toString: String
        let plain_vs_cleared: Bool
    }

    struct Legacy: Decodable {
        let input: String
        let native: String
        let toString: String
    }

    struct Native: Decodable {
        let native: String
        let toString: String
    }

    static let all: [String: Scenario] = {
        let file = URL(filePath: #filePath).deletingLastPathComponent()
            .appending(path: "../Vectors/key-vectors.json")
        do {
            let vectors = try JSONDecoder().decode(Self.self, from: Data(contentsOf: file))
            return Dictionary(uniqueKeysWithValues: vectors.scenarios.map { ($0.name, $0) })
        } catch {
            fatalError("The key vectors cannot be read: \(error)")
        }
    }()

    /// The scenarios in which a directory belongs to somebody else or lies in the root directory.
    static let namesNeedingRoot = ["tmpdir_root", "xdg_other_owner"]

    static let otherNames = all.keys.filter { !namesNeedingRoot.contains($0) }.sorted()

    /// The scenario that came with more than derivations.
    static var main: Scenario {
        get throws { try #require(all["default_root"]) }
    }
}

extension KeyVectors.Scenario {
    /// The environment Qt ran in, with `root` for the directory it worked in.
    func environment(root: String) -> KeyEnvironment {
        KeyEnvironment(
            temporaryDirectory: env.TMPDIR?.replacing("{ROOT}", with: root),
            runtimeDirectory: env.XDG_RUNTIME_DIR?.replacing("{ROOT}", with: root),
            workingDirectory: root,
            // Qt ran as root. Whoever runs the tests owns their directories in its place.
            userID: env.uid == 0 ? geteuid() : env.uid,
            userName: env.uid == 0 ? "root" : "somebody"
        )
    }
}

/// Lends a test the directories that the vectors were made with, and removes them.
func withVectorDirectories(_ body: (_ root: String) throws -> Void) throws {
    try withTemporaryDirectory { root in
        for (name, mode) in [
            ("run", 0o700), ("run755", 0o755), ("run1777", 0o1777), ("run_ro", 0o500),
            ("run1000", 0o700), ("vt", 0o755),
        ] {
            let path = "\(root)/\(name)"
            try #require(unsafe mkdir(path, 0o700) == 0)
            try #require(unsafe chmod(path, mode_t(mode)) == 0)
        }
        if geteuid() == 0 {
            try #require(unsafe chown("\(root)/run1000", 1000, 1000) == 0)
        }
        try Data().write(to: URL(filePath: "\(root)/runfile"))
        try #require(unsafe symlink("run", "\(root)/runlink") == 0)
        try #require(unsafe symlink("run1000", "\(root)/runlink1000") == 0)
        try body(root)
    }
}

/// Lends a test an empty directory that everybody may enter, and removes it.
func withTemporaryDirectory(_ body: (_ path: String) throws -> Void) throws {
    let path = "/tmp/keys-\(UInt64.random(in: .min ... .max))"
    try #require(unsafe mkdir(path, 0o755) == 0)
    defer { try? FileManager.default.removeItem(atPath: path) }
    try body(path)
}

/// Whether two texts are the same bytes; `==` would take a composed é for a decomposed one.
func isSame(_ lhs: String, _ rhs: String) -> Bool {
    lhs.utf8.elementsEqual(rhs.utf8)
}
