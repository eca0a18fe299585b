public import SharedMemory
import Synchronization

/// A request's use of a segment's bytes.
///
/// While it lives, the memory stays attached.
///
/// `@unchecked Sendable`: `shared` changes only in `deinit`, when nobody else has a reference.
public final class SegmentAccess: @unchecked Sendable {
    /// The bytes.
    public var segment: Segment {
        _read {
            guard let shared else { preconditionFailure("there until the end") }
            yield shared.segment
        }
    }

    private var shared: SharedSegment?
    fileprivate let entry: EntryID
    private let naming: Entry.Naming
    /// What the segment is called.
    public var name: String { naming.title }
    fileprivate let lock: SegmentLock?
    fileprivate let session: Session.ID?
    /// Whether this service made the segment.
    fileprivate let isOwn: Bool
    private let service: SegmentService?

    fileprivate init(
        _ shared: SharedSegment, entry: EntryID, naming: Entry.Naming, lock: SegmentLock?,
        session: Session.ID?, isOwn: Bool, peekingAt service: SegmentService?
    ) {
        self.shared = shared
        self.entry = entry
        self.naming = naming
        self.lock = lock
        self.session = session
        self.isOwn = isOwn
        self.service = service
    }

    deinit {
        shared = nil  // first, so that whoever ends the peek finds the memory unused
        service?.endPeek(entry)
    }
}

/// How a request wants to stand towards the lock while it works on bytes.
public struct LockWish: Sendable {
    /// Whether to take the lock for the work.
    public var isWanted: Bool
    /// Whether a segment that has no lock is an error then.
    public var isRequired: Bool
    /// How long to wait for it, in milliseconds.
    public var wait: Int64
    /// The token of the lock that the session must hold, where the request names one.
    public var token: FencingToken?

    /// Makes a wish.
    ///
    /// - Parameters:
    ///   - isWanted: Whether to take the lock for the work.
    ///   - isRequired: Whether a segment that has no lock is an error then.
    ///   - wait: How long to wait for it, in milliseconds.
    ///   - token: The token of the lock that the session must hold.
    public init(isWanted: Bool, isRequired: Bool, wait: Int64, token: FencingToken?) {
        self.isWanted = isWanted
        self.isRequired = isRequired
        self.wait = wait
        self.token = token
    }
}

extension SegmentService {
    /// Opens the bytes of a segment for one request.
    ///
    /// With a session it is the session's attachment. Without one it is a peek, which leaves the
    /// segment as it found it, except that a segment whose last user left meanwhile goes with it.
    ///
    /// - Parameters:
    ///   - name: The segment.
    ///   - session: Whose attachment to use.
    ///   - mode: What the request is going to do.
    /// - Returns: The access; the segment is let go when it is.
    /// - Throws: ``ServiceError``: `.notAttached`, `.readOnlyAttachment`, `.sessionGone`;
    ///   `.notFound`, `.permissionDenied` and what else the system says to a peek.
    public func access(
        _ name: KnownName, session: Session.ID?, for mode: AccessMode
    ) throws(ServiceError) -> SegmentAccess {
        guard let session else { return try peek(name, for: mode) }
        return try attached(session, to: name.name, known: name) {
            (registry, record) throws(ServiceError) -> SegmentAccess in
            guard let entry = registry.entry(record.entry), let shared = entry.segment else {
                throw .gone
            }
            guard mode == .readOnly || record.mode == .readWrite else {
                throw ServiceError(
                    .readOnlyAttachment, "the session is attached to \(entry.name) read-only")
            }
            return SegmentAccess(
                shared, entry: record.entry, naming: entry.naming, lock: entry.lock,
                session: session, isOwn: entry.wasCreatedHere, peekingAt: nil)
        }
    }

    private func peek(_ known: KnownName, for mode: AccessMode) throws(ServiceError)
        -> SegmentAccess
    {
        let name = known.name
        var deadline: MonotonicInstant?
        while true {
            guard let address = try address(of: known) else { throw missing(name) }
            switch join(address) {
            case .joined(let access):
                if access.segment.hasItsAddress {
                    guard mode == .readOnly || access.segment.mode == .readWrite else {
                        throw ServiceError(
                            .permissionDenied, "the kernel lets this server only read \(name)")
                    }
                    return access
                }
                registry.withLock { $0.supersede(access.entry) }
            case .busy:
                pause(microseconds: 50)  // system calls of another thread, and no waiting ones
            case .absent:
                if let access = try look(name, at: address, for: mode) { return access }
            }
            // Nearly always the first time does, and needs no clock.
            let end = deadline ?? .now.advanced(byMilliseconds: Self.patience)
            deadline = end
            guard .now < end else { throw .gone }
        }
    }

    /// How long a look waits for others to make up their minds about the segment, in milliseconds.
    private static let patience: Int64 = 2_000

    private enum Joined {
        case joined(SegmentAccess)
        /// Somebody opens the segment, or takes it down.
        case busy
        /// Nobody has it, and the caller has begun to open it.
        case absent
    }

    private func join(_ address: KernelAddress) -> Joined {
        registry.withLock { registry in
            guard let id = registry.current[address], let entry = registry.entry(id) else {
                guard !registry.isOpening(address) else { return .busy }
                registry.beginOpening(address)
                return .absent
            }
            if entry.afterClosing == nil, entry.remnant != nil {
                registry.reopen(id)
                return .absent
            }
            guard let shared = registry.beginPeek(id) else { return .busy }
            return .joined(
                SegmentAccess(
                    shared, entry: id, naming: entry.naming, lock: entry.lock, session: nil,
                    isOwn: entry.wasCreatedHere, peekingAt: self))
        }
    }

    /// Attaches to a segment that nobody here uses.
    ///
    /// The caller has begun the opening, which ends here.
    ///
    /// - Returns: `nil` when the name leads elsewhere by now.
    private func look(_ name: SegmentName, at address: KernelAddress, for mode: AccessMode)
        throws(ServiceError) -> SegmentAccess?
    {
        defer { endOpening(address) }
        var note = SightingNote()
        defer { forget(note) }
        let shared = try opened(name, mode, &note)
        guard shared.segment.address ?? address == address else {
            shared.segment.settle()
            return nil
        }
        let entry = entry(shared, name: name, address: address, wasCreatedHere: false)
        entry.hadUser = note.wasUsed || shared.segment.isUsedByOthers ?? false
        entry.peekCount = 1
        entry.isLook = true
        let access = registry.withLock { registry -> SegmentAccess? in
            guard registry.current[address] == nil else { return nil }
            if registry.isOwed(address) { entry.hadUser = true }
            entry.take(&note)
            let id = registry.insert(entry)
            registry.recordFlags(of: id)
            return SegmentAccess(
                shared, entry: id, naming: entry.naming, lock: entry.lock, session: nil,
                isOwn: false, peekingAt: self)
        }
        if access == nil { shared.segment.settle() }
        return access
    }

    /// Ends a peek, whose hold on the memory was let go of.
    func endPeek(_ id: EntryID) {
        let isLast = registry.withLock { registry in
            guard let entry = registry.entry(id) else { return false }
            entry.peekCount -= 1
            return entry.isUnused
        }
        if isLast { endLook(id) }
    }

    /// Does something with the bytes of a segment, under its lock where that is wished.
    ///
    /// - Parameters:
    ///   - access: The bytes.
    ///   - wish: How to stand towards the lock.
    ///   - client: Who waits.
    ///   - body: Called with success when the bytes may be touched, or ``ServiceError``:
    ///     `.locked` when the wait ran out, `.staleFencingToken`, `.lockUnsupported`,
    ///     `.sessionGone`.
    /// - Returns: The wait, where there is one.
    public func perform(
        on access: SegmentAccess, _ wish: LockWish, client: any WaitingClient,
        _ body: @escaping @Sendable (Result<Void, ServiceError>) -> Void
    ) -> Wait? {
        if let token = wish.token {
            guard holds(access, token: token) else {
                body(
                    .failure(
                        ServiceError(
                            .staleFencingToken,
                            "\(token) is not the token by which this session holds the lock of \(access.name) now"
                        )))
                return nil
            }
            body(.success(()))
            return nil
        }
        guard wish.isWanted, !holds(access, token: nil) else {
            body(.success(()))
            return nil
        }
        guard let lock = access.lock else {
            body(wish.isRequired ? .failure(.lockUnsupported(access.name)) : .success(()))
            return nil
        }
        // A peek makes no semaphore: where there is none, no process can hold the lock.
        guard access.session != nil || lock.exists else {
            body(.success(()))
            return nil
        }
        let waiter = LockWaiter(
            session: access.session, client: client,
            purpose: .perform { result in
                body(result)
                return .held
            })
        return enqueue(waiter, at: access.entry, lock, wait: wish.wait)
    }

    /// Takes note of a write, and tells whether it is to be put on record as foreign: one without a
    /// session, or the first by an attachment to a segment that this service did not make.
    ///
    /// - Parameter access: What was written by.
    /// - Returns: Whether it is.
    public func noteForeignWrite(_ access: SegmentAccess) -> Bool {
        guard let session = access.session else { return true }
        guard !access.isOwn else { return false }
        return registry.withLock { registry in
            guard let address = registry.entries[access.entry]?.address,
                let record = registry.sessions[session]?.attachments[address],
                record.entry == access.entry, !record.hasWritten
            else { return false }
            record.hasWritten = true
            return true
        }
    }

    /// Whether the session behind an access holds the lock, with a token if one is given.
    private func holds(_ access: SegmentAccess, token: FencingToken?) -> Bool {
        guard let session = access.session, let lock = access.lock else { return false }
        let holder = registry.withLock { $0.entries[access.entry]?.queue.holder }
        guard let holder, holder.session == session, token == nil || holder.token == token else {
            return false
        }
        return lock.isIntact
    }
}
