import Glibc
import SharedMemory
import Testing

@Suite struct KeyVectorTests {
    @Test(arguments: KeyVectors.otherNames)
    func `keys are derived as Qt derives them`(scenario: String) throws {
        try expectRows(ofScenario: scenario)
    }

    @Test(.enabled(if: geteuid() == 0, "needs root"), arguments: KeyVectors.namesNeedingRoot)
    func `keys are derived as Qt derives them where only root can tell`(scenario: String) throws {
        try expectRows(ofScenario: scenario)
    }

    @Test func `texts are read as Qt reads them`() throws {
        let rows = try #require(KeyVectors.main.fromString)
        #expect(rows.count == 126)
        for row in rows {
            let key = NativeKey(text: row.text)
            #expect((key?.type.qtID ?? 0) == row.out.type, "\(row.text)")
            #expect(isSame(key?.value ?? "", row.out.native), "\(row.text)")
            #expect(isSame(key?.text ?? "", row.out.toString), "\(row.text)")
        }
    }

    @Test func `every character of a native key is written as Qt writes it`() throws {
        let rows = try #require(KeyVectors.main.nativeSingles)
        #expect(rows.count == 768)
        for row in rows {
            let key = NativeKey(row.native, type: .posix)
            #expect(isSame(key.text, row.toString))
            #expect(NativeKey(text: row.toString) == key)
        }
    }

    @Test func `every character of a legacy key is written as Qt writes it`() throws {
        let rows = try #require(KeyVectors.main.legacySingles)
        #expect(rows.count == 384)
        let environment = try KeyVectors.main.environment(root: "/")
        for row in rows {
            let key = NativeKey.legacy(
                row.input, type: .posix, for: .memory, environment: environment)
            #expect(isSame(key.value, row.native))
            #expect(isSame(key.text, row.toString))
            #expect(NativeKey(text: row.toString) == key)
        }
    }

    @Test func `keys are compared as Qt compares them`() throws {
        let qt = try #require(KeyVectors.main.equality)
        let environment = try KeyVectors.main.environment(root: "/")
        let legacy = NativeKey.legacy("key1", type: .posix, for: .memory, environment: environment)
        let plain = NativeKey(legacy.value, type: .posix)
        let copy = legacy
        var cleared = legacy
        cleared.value = legacy.value

        #expect((legacy == plain) == qt.legacy_vs_plain_same_native)
        #expect((legacy == copy) == qt.copy)
        #expect(cleared.text == qt.after_setNativeKey_toString)
        #expect((plain == cleared) == qt.plain_vs_cleared)
    }

    // There are thousands of rows; only those that differ are worth a line of the log.
    private func expectRows(ofScenario name: String) throws {
        let scenario = try #require(KeyVectors.all[name])
        try withVectorDirectories { root in
            let environment = scenario.environment(root: root)
            for row in scenario.rows {
                let expected = row.out.native.localized(root)
                let text = row.out.toString.localized(root)
                // Qt also derives keys of its invalid type, which has no counterpart here. Their
                // text is empty, and that makes no key.
                guard let type = KeyType(qtID: row.type) else {
                    #expect(NativeKey(text: row.out.toString) == nil)
                    continue
                }
                let key = derive(row, type: type, environment: environment)
                if !isSame(key.value, expected) || !isSame(key.text, text) {
                    Issue.record("\(row.fn) of \(row.input) for \(type): \(key), not \(text)")
                }
                #expect(NativeKey(text: text) == key)
            }
        }
    }

    private func derive(
        _ row: KeyVectors.Row,
        type: KeyType,
        environment: KeyEnvironment
    ) -> NativeKey {
        // The Python binding that made the vectors dropped a byte order mark in front before Qt
        // saw the input.
        let hasMark = row.input.unicodeScalars.first == "\u{FEFF}"
        let input = hasMark ? String(row.input.unicodeScalars.dropFirst()) : row.input
        let purpose: KeyPurpose = row.class == "shm" ? .memory : .semaphore
        return row.fn == "platformSafeKey"
            ? .platformSafe(input, type: type, for: purpose, environment: environment)
            : .legacy(input, type: type, for: purpose, environment: environment)
    }
}

extension String {
    /// The text with this run's directory and login name in place of the vectors' placeholders.
    fileprivate func localized(_ root: String) -> String {
        replacing("{ROOT}", with: root).replacing("{USER1000}", with: "somebody")
    }
}
