import Glibc
import SharedMemory
import Testing

/// The kinds of key that a contract holds for alike.
enum KeyKind: String, CaseIterable, Sendable, CustomTestStringConvertible {
    case posix, systemV, systemVOtherProject, legacy, legacyPOSIX

    /// The kinds that Qt's own tests go through.
    static let ofQtTests = [KeyKind.posix, .systemV, .systemVOtherProject]

    var testDescription: String { rawValue }

    func key(_ plain: String) -> NativeKey {
        let environment = KeyEnvironment.current()
        return switch self {
        case .posix: NativeKey("/\(plain)", type: .posix)
        case .systemV: NativeKey("/tmp/\(plain)", type: .systemV)
        case .systemVOtherProject: NativeKey("/tmp/\(plain)", type: .systemV(projectID: 84))
        case .legacy: .legacy(plain, type: .systemV, for: .memory, environment: environment)
        case .legacyPOSIX: .legacy(plain, type: .posix, for: .memory, environment: environment)
        }
    }
}

/// Lends a test a key that nobody else has, and checks that the test leaves nothing under it.
func withTemporaryKey<Result>(
    _ kind: KeyKind, _ body: (NativeKey) throws -> Result,
    sourceLocation: SourceLocation = #_sourceLocation
) throws -> Result {
    let key = kind.key("test-\(getpid())-\(UInt64.random(in: .min ... .max))")
    let before = KernelObjects.all()
    defer {
        let left = KernelObjects.left(of: key, since: before)
        #expect(left.isEmpty, "left behind", sourceLocation: sourceLocation)
        removeWhatIsLeft(of: key)
    }
    return try body(key)
}

/// Attaches to a segment that nobody holds, and destroys it by detaching.
func removeOrphan(_ key: NativeKey) throws {
    #expect(try Segment.attach(key).detach(), "the last to detach destroys what was left")
}

/// What there is of a key in the kernel and the file system.
struct KernelObjects {
    var files: Set<String> = []

    static func all() -> KernelObjects {
        KernelObjects(files: Set(names(in: "/dev/shm") + names(in: "/tmp")))
    }

    /// What is left of a key.
    ///
    /// Another test may be in the midst of removing a file, which then has a name of its own for
    /// microseconds; so those names count only if they stay.
    static func left(of key: NativeKey, since before: KernelObjects) -> [String] {
        let left = all().of(key, since: before)
        guard left.contains(where: { $0.hasPrefix(removalPrefix) }) else { return left }
        usleep(200_000)
        return all().of(key, since: before).filter(left.contains)
    }

    /// What the names of files being removed begin with.
    static let removalPrefix = ".shared-memory-removal-"

    /// One such name that a test may give away itself.
    static let removalNameOfTests = removalPrefix + "test"

    /// The files that a key's segment and semaphore have.
    func of(_ key: NativeKey, since before: KernelObjects) -> [String] {
        let names = [key, key.semaphoreKey].map { lastComponent($0.value) }
        return files.subtracting(before.files).filter { file in
            names.contains { file.contains($0) }
                || file.hasPrefix(Self.removalPrefix) && file != Self.removalNameOfTests
        }
    }

    private static func names(in directory: String) -> [String] {
        guard let stream = opendir(directory) else { return [] }
        defer { _ = closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) {
                    names.append(unsafe String(cString: $0))
                }
            }
        }
        return names
    }
}

/// The part of a path behind its last slash.
func lastComponent(_ path: String) -> String {
    String(path[(path.lastIndex(of: "/").map(path.index(after:)) ?? path.startIndex)...])
}

private func removeWhatIsLeft(of key: NativeKey) {
    if let segment = try? Segment.attach(key) { try? segment.removeByForce() }
    for name in [key, key.semaphoreKey].map({ lastComponent($0.value) }) {
        unlink("/dev/shm/\(name)")
        unlink("/dev/shm/sem.\(name)")
        unlink("/tmp/\(name)")
    }
}

/// Waits for a condition, and says so when it does not come.
func require(
    within milliseconds: Int64 = 5_000, _ claim: Comment,
    sourceLocation: SourceLocation = #_sourceLocation, _ condition: () -> Bool
) throws {
    let deadline = MonotonicInstant.now.advanced(byMilliseconds: milliseconds)
    while !condition() {
        try #require(MonotonicInstant.now < deadline, claim, sourceLocation: sourceLocation)
        usleep(1_000)
    }
}

extension Segment {
    /// The lock, which every segment with a key has.
    borrowing func requireLock() throws -> SegmentLock {
        let lock = lock
        return try #require(lock)
    }
}
