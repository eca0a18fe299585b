import Glibc
import SharedMemory
import Synchronization
import Testing

@testable import SegmentService

/// A client that can hang up.
final class Client: WaitingClient {
    private let connected = Atomic(true)

    var isConnected: Bool { connected.load(ordering: .acquiring) }

    func hangUp() { connected.store(false, ordering: .releasing) }
}

/// A request whose answer is awaited.
struct Request<Answer: Sendable>: Sendable {
    let answers = Reports<Result<Answer, ServiceError>>()
    let client = Client()
    var wait: Wait?

    /// The answer, of which there is one.
    func answer(sourceLocation: SourceLocation = #_sourceLocation) throws -> Answer {
        let answers = try answers.wait(sourceLocation: sourceLocation)
        #expect(answers.count == 1, sourceLocation: sourceLocation)
        return try answers[0].get()
    }

    /// The code of the refusal.
    func refusal(sourceLocation: SourceLocation = #_sourceLocation) throws -> ServiceError.Code {
        let answers = try answers.wait(sourceLocation: sourceLocation)
        guard case .failure(let error) = answers[0] else {
            Issue.record("was not refused: \(answers[0])", sourceLocation: sourceLocation)
            throw ServiceError(.unknownError, "was not refused")
        }
        return error.code
    }

    var isAnswered: Bool { answers.count > 0 }
}

/// Lends a test a service that runs, shuts it down, and checks that it has let go of everything.
func withService<Result>(
    _ configuration: SegmentService.Configuration = .init(environment: .current()),
    body: (SegmentService) throws -> Result,
    sourceLocation: SourceLocation = #_sourceLocation
) throws -> Result {
    let service = SegmentService(configuration: configuration)
    try #require(service.start())
    defer {
        service.shutDown(by: .now.advanced(byMilliseconds: 5_000))
        #expect(service.sessions.isEmpty, sourceLocation: sourceLocation)
        #expect(service.entryCount == 0, "entries left", sourceLocation: sourceLocation)
    }
    return try body(service)
}

/// Lends a test a running service and a name that nobody else has, and checks that nothing is left
/// under it.
func withSegmentName<Result>(
    _ kind: KeyKind, _ body: (SegmentService, SegmentName) throws -> Result,
    sourceLocation: SourceLocation = #_sourceLocation
) throws -> Result {
    let key = NativeKey.unused(kind)
    defer {
        #expect(files(of: key).isEmpty, "left behind", sourceLocation: sourceLocation)
        if let segment = try? Segment.attach(key) { try? segment.removeByForce() }
        for file in files(of: key) { unlink(file) }
    }
    return try withService(body: { try body($0, .key(key)) }, sourceLocation: sourceLocation)
}

extension SegmentName {
    var key: NativeKey {
        get throws {
            guard case .key(let key) = self else { throw ServiceError(.keyError, "no key") }
            return key
        }
    }
}

extension SegmentService {
    var entryCount: Int { registry.withLock { $0.entries.count } }

    /// How many wait for the lock of a segment, the service's own errands among them.
    func queueLength(_ name: SegmentName) throws -> Int {
        let address = try name.address()
        return registry.withLock { registry in
            guard let address, let id = registry.current[address],
                var queue = registry.entries[id]?.queue
            else { return 0 }
            var count = 0
            while queue.popFirst() != nil { count += 1 }
            return count
        }
    }

    func open(
        _ name: String? = nil, timeToLive: Int64 = 60_000,
        binding: Session.Binding = .timeToLive
    ) throws -> Session.ID {
        try openSession(name: name, timeToLive: timeToLive, binding: binding).id
    }

    /// Creates a segment and waits for the answer.
    @discardableResult
    func make(
        _ name: SegmentName, _ session: Session.ID, byteCount: Int = 64,
        mode: AccessMode = .readWrite, onLastDetach: LastDetach = .destroy,
        ifExists: ExistingSegment = .fail, sourceLocation: SourceLocation = #_sourceLocation
    ) throws -> Attached {
        let request = Request<Attached>()
        create(
            name, byteCount: byteCount, mode: mode, onLastDetach: onLastDetach,
            ifExists: ifExists, session: session
        ) { request.answers.add($0) }
        return try request.answer(sourceLocation: sourceLocation)
    }

    /// Attaches and waits for the answer.
    @discardableResult
    func join(
        _ name: SegmentName, _ session: Session.ID, mode: AccessMode = .readWrite,
        onLastDetach: LastDetach = .destroy, sourceLocation: SourceLocation = #_sourceLocation
    ) throws -> Attached {
        let request = Request<Attached>()
        attach(name, session: session, mode: mode, onLastDetach: onLastDetach) {
            request.answers.add($0)
        }
        return try request.answer(sourceLocation: sourceLocation)
    }

    /// Asks for a detachment.
    func beginDetach(_ name: SegmentName, _ session: Session.ID, wait: Int64 = 10_000)
        -> Request<Bool>
    {
        var request = Request<Bool>()
        let answers = request.answers
        request.wait = detach(name, session: session, wait: wait, client: request.client) {
            answers.add($0.map(\.destroyed))
        }
        return request
    }

    /// Detaches and says whether the segment was destroyed.
    @discardableResult
    func drop(
        _ name: SegmentName, _ session: Session.ID, wait: Int64 = 10_000,
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws -> Bool {
        try beginDetach(name, session, wait: wait).answer(sourceLocation: sourceLocation)
    }

    /// Opens the bytes of a segment by a name that is read anew.
    func access(_ name: SegmentName, session: Session.ID?, for mode: AccessMode)
        throws(ServiceError) -> SegmentAccess
    {
        try access(KnownName(name), session: session, for: mode)
    }

    /// Gives a lock back by a name that is read anew.
    func unlock(_ name: SegmentName, session: Session.ID, token: FencingToken? = nil)
        throws(ServiceError)
    {
        try unlock(KnownName(name), session: session, token: token)
    }

    /// Asks for the lock.
    func beginLock(_ name: SegmentName, _ session: Session.ID, wait: Int64 = 60_000)
        -> Request<LockGrant>
    {
        var request = Request<LockGrant>()
        let answers = request.answers
        request.wait = lock(
            KnownName(name), session: session, wait: wait, client: request.client
        ) { answers.add($0) }
        return request
    }

    /// Takes the lock and gives its token.
    @discardableResult
    func take(
        _ name: SegmentName, _ session: Session.ID, wait: Int64 = 10_000,
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws -> FencingToken {
        try beginLock(name, session, wait: wait).answer(sourceLocation: sourceLocation)
            .fencingToken
    }

    /// Waits until so many clients wait for a lock.
    func awaitWaiters(
        _ name: SegmentName, _ count: Int, sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        try eventually("\(count) waiters", sourceLocation: sourceLocation) {
            try self.lockStatus(existing: name)?.waiting == count
        }
    }
}

/// What a call throws, by its code.
func refusal(
    sourceLocation: SourceLocation = #_sourceLocation, _ body: () throws -> Void
) -> ServiceError.Code? {
    #expect(throws: ServiceError.self, sourceLocation: sourceLocation, performing: body)?.code
}
