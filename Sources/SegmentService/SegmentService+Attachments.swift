public import SharedMemory
import Synchronization

/// What `create` does with a key that has a segment.
public enum ExistingSegment: String, Sendable, CaseIterable {
    /// It is an error.
    case fail
    /// It is attached to.
    case attach
}

extension SegmentService {
    /// The answer to a request for an attachment: what it is, and whether the segment was made.
    public typealias Attached = (attachment: Attachment, isNew: Bool)

    /// Creates a segment and attaches a session to it.
    ///
    /// - Parameters:
    ///   - name: A key no segment has yet.
    ///   - byteCount: Its size.
    ///   - mode: What the session may do with the bytes.
    ///   - onLastDetach: What becomes of it when this was the last attachment.
    ///   - ifExists: What to do when there is a segment.
    ///   - session: Who attaches.
    ///   - completion: Called with the attachment or ``ServiceError``.
    public func create(
        _ name: SegmentName, byteCount: Int, mode: AccessMode, onLastDetach: LastDetach,
        ifExists: ExistingSegment, session: Session.ID,
        completion: @escaping @Sendable (Result<Attached, ServiceError>) -> Void
    ) {
        do throws(ServiceError) {
            try renew(session)
            guard case .key = name else {
                throw ServiceError(.keyError, "\(name) is a number the kernel gives, not a key")
            }
            guard byteCount > 0, byteCount <= configuration.segmentByteLimit else {
                throw ServiceError(
                    .invalidSize,
                    "the size must be 1 to \(configuration.segmentByteLimit) bytes, not \(byteCount)"
                )
            }
            let made: (KernelAddress, madeFile: Bool)?
            do throws(SegmentError) { made = try name.addressMakingKeyFile() } catch {
                throw ServiceError(error)
            }
            guard let (address, madeFile) = made else { throw .noSegment(name) }
            let request = AttachRequest(
                name: name, address: address, session: session, mode: mode,
                onLastDetach: onLastDetach, creation: (byteCount, ifExists)
            ) { [self] result in
                if madeFile, !registry.withLock({ $0.current[address] != nil }) {
                    name.discardKeyFile()
                }
                completion(result)
            }
            gate.run(address) { self.attach(request) }
        } catch { completion(.failure(error)) }
    }

    /// Attaches a session to a segment that exists.
    ///
    /// - Parameters:
    ///   - name: The segment.
    ///   - session: Who attaches.
    ///   - mode: What the session may do with the bytes.
    ///   - onLastDetach: What becomes of it when this was the last attachment.
    ///   - completion: Called with the attachment or ``ServiceError``.
    public func attach(
        _ name: SegmentName, session: Session.ID, mode: AccessMode, onLastDetach: LastDetach,
        completion: @escaping @Sendable (Result<Attached, ServiceError>) -> Void
    ) {
        do throws(ServiceError) {
            try renew(session)
            guard let address = try address(of: name, session: session) else {
                throw .noSegment(name)
            }
            let request = AttachRequest(
                name: name, address: address, session: session, mode: mode,
                onLastDetach: onLastDetach, creation: nil, completion: completion)
            gate.run(address) { self.attach(request) }
        } catch { completion(.failure(error)) }
    }

    /// The attachment of a session to a segment.
    ///
    /// - Parameters:
    ///   - name: The segment.
    ///   - session: Whose.
    /// - Returns: The attachment.
    /// - Throws: ``ServiceError``: `.notAttached`, `.sessionGone`.
    public func attachment(_ name: SegmentName, session: Session.ID) throws(ServiceError)
        -> Attachment
    {
        try renew(session)
        return try attached(session, to: name) { (registry, record) throws(ServiceError) in
            guard let attachment = registry.describe(record, of: session) else { throw .gone }
            return attachment
        }
    }

    // MARK: Attaching

    fileprivate struct AttachRequest: Sendable {
        let name: SegmentName
        let address: KernelAddress
        let session: Session.ID
        let mode: AccessMode
        let onLastDetach: LastDetach
        /// Size and what to do if there is one; `nil` to attach only.
        let creation: (byteCount: Int, ifExists: ExistingSegment)?
        let completion: @Sendable (Result<Attached, ServiceError>) -> Void
    }

    // Runs in the gate of the address: nobody else attaches to it or creates it meanwhile, but the
    // last holder may be letting go.
    private func attach(_ request: AttachRequest) {
        do throws(ServiceError) {
            guard let present = try usableEntry(for: request) else { return }  // comes again
            if let creation = request.creation {
                if present == .none {
                    do throws(ServiceError) {
                        let segment = try made(request.name, creation.byteCount, request.mode)
                        request.completion(.success((try insert(segment, for: request), true)))
                        return
                    } catch {
                        guard error.code == .alreadyExists else { throw error }
                    }
                }
                guard creation.ifExists == .attach else {
                    throw .exists(request.name)
                }
            }
            let attachment: Attachment
            if case .entry(let id) = present {
                attachment = try join(id, for: request)
            } else {
                attachment = try insert(try opened(request.name, request.mode), for: request)
            }
            request.completion(.success((attachment, false)))
        } catch { request.completion(.failure(error)) }
    }

    private enum Present: Equatable {
        case none
        case entry(EntryID)
    }

    /// The entry that the name leads to now.
    ///
    /// - Returns: `nil` when it is being taken down; then the request is made again afterwards.
    private func usableEntry(for request: AttachRequest) throws(ServiceError) -> Present? {
        enum Found { case none, closing, entry(EntryID, SharedSegment) }
        let file = keyFile(of: request.name)
        let found = try registry.withLock { (registry) throws(ServiceError) -> Found in
            guard let session = registry.sessions[request.session] else { throw .sessionGone }
            if let attached = session.attachments[request.address] {
                try registry.requireSameFile(file, attached.entry, request.name)
                guard request.creation?.ifExists != .fail else { throw .exists(request.name) }
                throw ServiceError(
                    .alreadyAttached, "the session is attached to \(request.name) already")
            }
            guard let id = registry.current[request.address], let entry = registry.entries[id]
            else { return .none }
            guard entry.afterClosing == nil, let segment = entry.segment else {
                registry.entries[id]?.afterClosing?.append { [self] in
                    gate.run(request.address) { self.attach(request) }
                }
                return .closing
            }
            return .entry(id, segment)
        }
        switch found {
        case .none: return Present.none
        case .closing: return nil
        case .entry(let id, let shared):
            guard shared.segment.hasItsName else {
                registry.withLock { $0.supersede(id) }
                return Present.none
            }
            return .entry(id)
        }
    }

    private func made(_ name: SegmentName, _ byteCount: Int, _ mode: AccessMode)
        throws(ServiceError) -> SharedSegment
    {
        guard case .key(let key) = name else { throw .noSegment(name) }
        do throws(SegmentError) {
            // One mapping serves all sessions, so it can write even if the first one does not.
            return SharedSegment(try Segment.create(key, byteCount: byteCount))
        } catch { throw ServiceError(error) }
    }

    /// Attaches to a segment by its name, for writing too if the kernel lets us.
    func opened(_ name: SegmentName, _ mode: AccessMode) throws(ServiceError) -> SharedSegment {
        do throws(SegmentError) {
            do throws(SegmentError) {
                return SharedSegment(try Self.attach(name, .readWrite))
            } catch {
                guard error.code == .permissionDenied, mode == .readOnly else { throw error }
                return SharedSegment(try Self.attach(name, .readOnly))
            }
        } catch { throw ServiceError(error) }
    }

    private static func attach(_ name: SegmentName, _ mode: AccessMode) throws(SegmentError)
        -> Segment
    {
        switch name {
        case .key(let key): try Segment.attach(key, mode: mode)
        case .identifier(let identifier): try Segment.attach(identifier: identifier, mode: mode)
        }
    }

    private func insert(_ shared: SharedSegment, for request: AttachRequest) throws(ServiceError)
        -> Attachment
    {
        let entry = entry(
            shared, name: request.name, address: request.address,
            wasCreatedHere: request.creation != nil)
        let attachment = try registry.withLock { (registry) throws(ServiceError) -> Attachment? in
            // The session may have ended while the kernel worked: then the segment goes again.
            guard registry.sessions[request.session] != nil else { throw .sessionGone }
            let id = registry.insert(entry)
            return registry.attach(request.session, to: id, request)
        }
        guard let attachment else { throw .gone }
        remember(request.name)
        return attachment
    }

    /// An entry for a segment that nobody here uses yet.
    func entry(
        _ shared: SharedSegment, name: SegmentName, address: KernelAddress, wasCreatedHere: Bool
    ) -> Entry {
        Entry(
            address: address, name: name, byteCount: shared.segment.byteCount,
            keyFile: keyFile(of: name),
            segment: shared, lock: shared.segment.lock, hadUser: true,
            wasCreatedHere: wasCreatedHere)
    }

    private func keyFile(of name: SegmentName) -> Entry.FileNumbers? {
        name.keyFileIdentity.map { Entry.FileNumbers(device: $0.device, inode: $0.inode) }
    }

    private func join(_ id: EntryID, for request: AttachRequest) throws(ServiceError) -> Attachment
    {
        let file = keyFile(of: request.name)
        let attachment = try registry.withLock { (registry) throws(ServiceError) -> Attachment? in
            guard registry.sessions[request.session] != nil else { throw .sessionGone }
            guard let entry = registry.entries[id], let shared = entry.segment else { throw .gone }
            try registry.requireSameFile(file, id, request.name)
            guard request.mode == .readOnly || shared.segment.mode == .readWrite else {
                throw ServiceError(
                    .permissionDenied, "the kernel lets this server only read \(entry.name)")
            }
            registry.learnKey(of: id, from: request.name, file)
            return registry.attach(request.session, to: id, request)
        }
        guard let attachment else { throw .gone }
        remember(request.name)
        return attachment
    }
}

extension ServiceError {
    fileprivate static func exists(_ name: SegmentName) -> ServiceError {
        ServiceError(.alreadyExists, "a segment \(name) exists already")
    }
}

extension Registry {
    /// Refuses a name whose key file is another than the one an entry was reached by: of two files
    /// that make one System V key, one names the other's segment by accident.
    fileprivate func requireSameFile(
        _ file: Entry.FileNumbers?, _ id: EntryID, _ name: SegmentName
    ) throws(ServiceError) {
        guard let file, let entry = entries[id], let other = entry.keyFile, file != other else {
            return
        }
        throw ServiceError(
            .keyCollision, "\(name) leads to the same System V key as \(entry.name)")
    }

    /// Notes that a session is attached.
    fileprivate mutating func attach(
        _ session: Session.ID, to id: EntryID, _ request: SegmentService.AttachRequest
    ) -> Attachment? {
        let record = AttachmentRecord(
            entry: id, mode: request.mode, onLastDetach: request.onLastDetach, attachedAt: .now)
        sessions[session]?.attachments[request.address] = record
        sessions[session]?.addresses[request.name] = request.address
        entries[id]?.sessionCount += 1
        entries[id]?.hadUser = true
        return describe(record, of: session)
    }

    /// Gives an entry that was reached by number the key that somebody knows for it.
    fileprivate mutating func learnKey(
        of id: EntryID, from name: SegmentName, _ file: Entry.FileNumbers?
    ) {
        guard case .key(let key) = name, let entry = entries[id] else { return }
        switch entry.name {
        case .identifier:
            entries[id]?.name = name
            entries[id]?.lock = SegmentLock(ofSegment: key)
            entries[id]?.keyFile = file
        case .key(let known):
            if known.legacyKey == nil, key.legacyKey != nil { entries[id]?.name = name }
        }
    }
}
