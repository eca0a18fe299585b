import Foundation
import Glibc
import SharedMemory
import Testing

@Suite struct KeyEnvironmentTests {
    @Test(arguments: [
        (nil, "/tmp"), ("", "/tmp"), ("/", "/"), ("//x/", "/x"), ("/a/./b/../c/", "/a/c"),
        ("x", "/here/x"), (".", "/here"), ("..", "/"), ("../..", "/.."), ("/../x", "/../x"),
        ("/a/../../b", "/../b"), ("/a/...", "/a/..."), (" ", "/here/ "),
        ("/a//", "/a/"), ("/a////", "/a/"), ("a//", "/here/a/"), ("//", "/"), ("///", "//"),
    ])
    func `the temporary location is absolute and tidy`(variable: String?, location: String) {
        let environment = KeyEnvironment(
            temporaryDirectory: variable, workingDirectory: "/here", userID: 0, userName: "root")
        #expect(environment.temporaryLocation == location)
    }

    @Test func `a missing runtime directory is made on request only`() throws {
        try withTemporaryDirectory { root in
            var environment = Self.environment(temporaryDirectory: root)
            environment.runtimeDirectory = "\(root)/run/"

            #expect(environment.runtimeLocation(creatingMissing: false) == "\(root)/run/")
            #expect(!FileManager.default.fileExists(atPath: "\(root)/run"))

            #expect(environment.runtimeLocation(creatingMissing: true) == "\(root)/run/")
            let attributes = try FileManager.default.attributesOfItem(atPath: "\(root)/run")
            #expect(attributes[.posixPermissions] as? Int == 0o700)
            #expect(environment.runtimeLocation(creatingMissing: false) == "\(root)/run/")
        }
    }

    @Test(arguments: [false, true])
    func `an unsuitable fallback leaves the root directory`(creatingMissing: Bool) throws {
        try withTemporaryDirectory { root in
            let environment = Self.environment(temporaryDirectory: "\(root)/missing")
            #expect(environment.runtimeLocation(creatingMissing: creatingMissing) == "")
            let key = NativeKey.platformSafe(
                "x", type: .systemV, environment: environment, creatingMissing: creatingMissing)
            #expect(key.value == "/x")
        }
    }

    @Test func `a file is no parent`() throws {
        try withTemporaryDirectory { root in
            try Data().write(to: URL(filePath: "\(root)/file"))
            let environment = Self.environment(temporaryDirectory: "\(root)/file")
            #expect(environment.runtimeLocation(creatingMissing: false) == "")
            #expect(environment.runtimeLocation(creatingMissing: true) == "")
        }
    }

    @Test func `a user without a name has a fallback without one`() throws {
        try withTemporaryDirectory { root in
            var environment = Self.environment(temporaryDirectory: root)
            environment.userName = nil
            #expect(environment.runtimeLocation(creatingMissing: false) == "\(root)/runtime-")
        }
    }

    @Test func `another user cannot make a directory in a closed one`() throws {
        try withTemporaryDirectory { root in
            var environment = Self.environment(temporaryDirectory: root)
            environment.userID = geteuid() + 1
            #expect(environment.runtimeLocation(creatingMissing: false) == "")
            try #require(unsafe chmod(root, 0o1777) == 0)
            #expect(environment.runtimeLocation(creatingMissing: false) == "\(root)/runtime-me")
        }
    }

    @Test func `the process's own environment is read`() {
        let environment = KeyEnvironment.current()
        let process = ProcessInfo.processInfo
        #expect(environment.platform == .linux)
        #expect(environment.temporaryDirectory == process.environment["TMPDIR"])
        #expect(environment.runtimeDirectory == process.environment["XDG_RUNTIME_DIR"])
        #expect(environment.workingDirectory == FileManager.default.currentDirectoryPath)
        #expect(environment.userID == geteuid())
    }

    @Test(.enabled(if: geteuid() == 0, "needs root"))
    func `root is called root`() {
        #expect(KeyEnvironment.current().userName == "root")
    }

    private static func environment(temporaryDirectory: String) -> KeyEnvironment {
        KeyEnvironment(
            temporaryDirectory: temporaryDirectory,
            workingDirectory: "/",
            userID: geteuid(),
            userName: "me"
        )
    }
}
