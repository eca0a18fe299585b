import Glibc
import SharedMemory
import Synchronization
import Testing

@testable import SegmentService

/// In a process of its own, for threads and descriptors are counted.
@Suite struct `A storm of requests on few keys` {
    @Test func `leaves nothing of POSIX segments`() async {
        await #expect(processExitsWith: .success) { try storm(.posix) }
    }

    @Test func `leaves nothing of System V segments`() async {
        await #expect(processExitsWith: .success) { try storm(.systemV) }
    }

    @Test func `leaves nothing of segments with legacy keys`() async {
        await #expect(processExitsWith: .success) { try storm(.legacy) }
    }
}

private let rounds = getenv("STORM_ROUNDS").flatMap { Int(String(cString: $0)) } ?? 300

/// What each session writes into a segment that it is attached to, at its beginning.
private let marker = Array("here was a session".utf8)

private func storm(_ kind: KeyKind) throws {
    let keys = (0..<3).map { _ in NativeKey.unused(kind) }
    let seed =
        getenv("STORM_SEED").flatMap { UInt64(String(cString: $0)) }
        ?? .random(in: 0...99_999)
    let service = SegmentService(configuration: .init(environment: .current()))
    try #require(service.start())
    let threads = try entryCount("/proc/self/task")
    let files = try openFiles()

    runThreads(8) { number in
        var generator = SeededGenerator(seed: seed &* 100 &+ UInt64(number))
        do {
            for _ in 0..<rounds {
                try round(service, .key(keys[generator.next(upTo: 3)]), &generator)
            }
        } catch { Issue.record(error, "seed \(seed)") }
    }

    try eventually("no entry is left, seed \(seed)") { service.entryCount == 0 }
    #expect(service.sessions.isEmpty)
    try eventually("the threads have gone, seed \(seed)") {
        try entryCount("/proc/self/task") <= threads
    }
    var left: Set<String> = []
    do {
        try eventually("the files are closed, seed \(seed)") {
            left = try openFiles().subtracting(files)
            return left.isEmpty
        }
    } catch { Issue.record("open still: \(left)") }
    for key in keys { #expect(SegmentServiceTests.files(of: key).isEmpty, "seed \(seed)") }
    let own = "\(getpid())"
    let segments = try lines(of: "/proc/sysvipc/shm").filter {
        $0.split(separator: " ").dropFirst(4).first.map(String.init) == own
    }
    #expect(segments.isEmpty, "seed \(seed)")
    service.shutDown(by: .now.advanced(byMilliseconds: 5_000))
}

private func round(
    _ service: SegmentService, _ name: SegmentName, _ generator: inout SeededGenerator
) throws {
    let session = try service.open(timeToLive: 60_000)
    if generator.next(upTo: 4) == 0 {
        _ = try? service.access(name, session: nil, for: .readOnly)
    }
    if generator.next(upTo: 4) == 0 {
        do { try service.join(name, session) } catch let error as ServiceError {
            guard error.code == .notFound else { throw error }
            try service.endSession(session)
            return
        }
    } else {
        try service.make(name, session, ifExists: .attach)
    }
    try use(service, name, session)
    switch generator.next(upTo: 6) {
    case 0: try service.endSession(session)
    case 1:
        try service.take(name, session)
        try service.endSession(session)
    case 2:
        // Ends while it waits for the lock, or holds it.
        let request = service.beginLock(name, session)
        try service.endSession(session)
        _ = try request.answers.wait()
    case 3:
        let request = service.beginLock(name, session)
        request.wait?.cancel()
        try service.drop(name, session)
        try service.endSession(session)
    case 4:
        try service.take(name, session)
        try use(service, name, session)
        try service.unlock(name, session: session)
        try service.drop(name, session)
        try service.endSession(session)
    default:
        let access = try service.access(name, session: session, for: .readOnly)
        try service.drop(name, session)
        let bytes = try access.segment.read(at: 0, byteCount: marker.count)
        #expect(bytes == marker)
        try service.endSession(session)
    }
}

private func use(_ service: SegmentService, _ name: SegmentName, _ session: Session.ID) throws {
    let access = try service.access(name, session: session, for: .readWrite)
    try access.segment.write(marker, at: 0)
    let bytes = try access.segment.read(at: 0, byteCount: marker.count)
    #expect(bytes == marker)
}

extension SeededGenerator {
    fileprivate mutating func next(upTo limit: Int) -> Int {
        Int.random(in: 0..<limit, using: &self)
    }
}
