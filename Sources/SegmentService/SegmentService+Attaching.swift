import SharedMemory
import Synchronization

/// The steps of attaching to a segment, and of making one.
///
/// A request goes where its name leads, waits at the gate of that address for those who came before, and
/// is answered there: the segment that is in use, one that is opened, or one that is made.
extension SegmentService {
    /// What a client wants attached to, or made first.
    struct AttachRequest: Sendable {
        let name: SegmentName
        let session: Session.ID
        let mode: AccessMode
        let onLastDetach: LastDetach
        /// Size and what to do if there is one; `nil` to attach only.
        let creation: (byteCount: Int, ifExists: ExistingSegment)?
        /// Where the creation is noted until it is answered.
        var intent = StateSlot.none
        var completion: @Sendable (Result<Attached, ServiceError>) -> Void
    }

    /// Follows the name of a request, and brings it to the gate of where that leads.
    func submit(_ request: AttachRequest) throws(ServiceError) {
        guard request.creation != nil else {
            guard let address = try address(of: request.name, session: request.session) else {
                throw missing(request.name)
            }
            gate.run(address) { self.attach(request, at: address) }
            return
        }
        try configuration.environment.requireNoLinks(to: request.name)
        let made: (KernelAddress, madeFile: Bool)?
        do throws(SegmentError) { made = try request.name.addressMakingKeyFile() } catch {
            throw ServiceError(error)
        }
        guard let (address, madeFile) = made else { throw .noSegment(request.name) }
        var request = request
        if madeFile {
            request.completion = { [completion = request.completion, name = request.name] result in
                if case .failure = result { name.discardKeyFile() }
                completion(result)
            }
        }
        gate.run(address) { [request] in self.attach(request, at: address) }
    }

    /// Whether the name of a request leads to the address still.
    ///
    /// The key file may have been removed, or made anew, while the request waited for its turn.
    private func leads(_ request: AttachRequest, to address: KernelAddress) throws(ServiceError)
        -> Bool
    {
        let known = registry.withLock { $0.sessions[request.session]?.addresses[request.name] }
        if request.creation == nil, known == address { return true }
        do throws(SegmentError) { return try request.name.address() == address } catch {
            throw ServiceError(error)
        }
    }

    // Runs in the gate of the address: nobody else attaches to it or creates it meanwhile, but the
    // last holder may be letting go.
    private func attach(_ request: AttachRequest, at address: KernelAddress) {
        let again: @Sendable () -> Void = { [self] in
            gate.run(address) { self.attach(request, at: address) }
        }
        do throws(ServiceError) {
            guard try leads(request, to: address) else { return try submit(request) }
            do throws(ServiceError) {
                guard let present = try usableEntry(for: request, at: address, else: again) else {
                    return
                }
                guard case .entry(let id) = present else {
                    open(request, at: address)
                    return
                }
                guard request.creation?.ifExists != .fail else { throw .exists(request.name) }
                if let attachment = try join(id, for: request, at: address) {
                    request.completion(.success((attachment, false)))
                } else {
                    again()
                }
            } catch {
                // Not the other file's segment, but a file that changed in between.
                if error.code == .keyCollision, !(try leads(request, to: address)) {
                    return try submit(request)
                }
                throw error
            }
        } catch { request.completion(.failure(error)) }
    }

    private enum Present: Equatable {
        case none
        case entry(EntryID)
    }

    /// The entry that an address leads to now; where there is none, the caller has begun to open
    /// the segment.
    ///
    /// - Returns: `nil` when it is being opened or taken down; then `again` is called afterwards.
    private func usableEntry(
        for request: AttachRequest, at address: KernelAddress,
        else again: @escaping @Sendable () -> Void
    ) throws(ServiceError) -> Present? {
        enum Found { case none, later, entry(EntryID, SharedSegment) }
        let file = keyFile(of: request.name)
        while true {
            let found = try registry.withLock { (registry) throws(ServiceError) -> Found in
                guard let session = registry.sessions[request.session] else { throw .sessionGone }
                if let attached = session.attachments[address] {
                    try registry.requireSameFile(file, attached.entry, request.name)
                    guard request.creation?.ifExists != .fail else { throw .exists(request.name) }
                    throw ServiceError(
                        .alreadyAttached, "the session is attached to \(request.name) already")
                }
                try registry.requireRoom(session, configuration.attachmentLimit)
                guard let id = registry.current[address], let entry = registry.entries[id] else {
                    guard registry.isOpening(address) else {
                        registry.beginOpening(address)
                        return .none
                    }
                    registry.afterOpening(address, again)
                    return .later
                }
                if entry.afterClosing == nil, entry.remnant != nil {
                    registry.reopen(id)
                    return .none
                }
                guard entry.afterClosing == nil, let segment = entry.segment else {
                    registry.entries[id]?.afterClosing?.append(again)
                    return .later
                }
                return .entry(id, segment)
            }
            switch found {
            case .none: return Present.none
            case .later: return nil
            case .entry(let id, let shared):
                if shared.segment.hasItsAddress { return .entry(id) }
                registry.withLock { $0.supersede(id) }
            }
        }
    }

    private enum Opened {
        case attached(Result<Attached, ServiceError>)
        /// The segment has another address: the key file was made anew just before.
        case elsewhere(KernelAddress, SharedSegment, isNew: Bool)
    }

    /// Makes the segment of a request or attaches to it.
    ///
    /// The caller has begun the opening, which ends here.
    private func open(_ request: AttachRequest, at address: KernelAddress) {
        let opened = segment(for: request, at: address)
        endOpening(address)
        switch opened {
        case .attached(let result):
            request.completion(result)
        case .elsewhere(let actual, let shared, let isNew):
            gate.run(actual) { self.enter(shared, isNew: isNew, request, at: actual) }
        }
    }

    private func segment(for request: AttachRequest, at address: KernelAddress) -> Opened {
        var note = SightingNote()
        defer { forget(note) }
        do throws(ServiceError) {
            let (shared, isNew) = try found(request, &note)
            if let actual = shared.segment.address, actual != address {
                return .elsewhere(actual, shared, isNew: isNew)
            }
            let attachment = try insert(shared, isNew: isNew, for: request, at: address, &note)
            return .attached(.success((attachment, isNew)))
        } catch { return .attached(.failure(error)) }
    }

    /// Ends the opening of an address, and lets those go on who wait for that.
    func endOpening(_ address: KernelAddress) {
        let actions = registry.withLock { $0.endOpening(address) }
        for action in actions { action() }
    }

    /// Makes an entry of a segment that is open already, or lets the session join the one there is.
    ///
    /// Runs in the gate of the address.
    private func enter(
        _ shared: SharedSegment, isNew: Bool, _ request: AttachRequest, at address: KernelAddress
    ) {
        let again: @Sendable () -> Void = { [self] in
            gate.run(address) { self.enter(shared, isNew: isNew, request, at: address) }
        }
        let result: Result<Attached, ServiceError>
        do throws(ServiceError) {
            guard let present = try usableEntry(for: request, at: address, else: again) else {
                return
            }
            if case .entry(let id) = present {
                guard let attachment = try join(id, for: request, at: address) else {
                    return again()
                }
                shared.segment.settle()
                result = .success((attachment, isNew))
            } else {
                defer { endOpening(address) }
                var note = SightingNote()
                let attachment = try insert(shared, isNew: isNew, for: request, at: address, &note)
                result = .success((attachment, isNew))
            }
        } catch { result = .failure(error) }
        request.completion(result)
    }

    /// The segment of a request: made, or attached to where there is one and that will do.
    private func found(_ request: AttachRequest, _ note: inout SightingNote)
        throws(ServiceError) -> (SharedSegment, isNew: Bool)
    {
        guard let creation = request.creation else {
            return (try opened(request.name, request.mode, &note), false)
        }
        // Another process may make or destroy it between the two.
        for _ in 0..<100 {
            do throws(ServiceError) {
                return (try made(request, creation.byteCount), true)
            } catch {
                guard error.code == .alreadyExists else { throw error }
                guard creation.ifExists == .attach else { throw .exists(request.name) }
            }
            do throws(ServiceError) {
                return (try opened(request.name, request.mode, &note), false)
            } catch {
                guard error.code == .notFound else { throw error }
            }
        }
        throw .noSegment(request.name)
    }

    private func made(_ request: AttachRequest, _ byteCount: Int)
        throws(ServiceError) -> SharedSegment
    {
        guard case .key(let key) = request.name else { throw .noSegment(request.name) }
        return try withQuota(for: key, byteCount) { () throws(ServiceError) in
            do throws(SegmentError) {
                // One mapping serves all sessions, so it can write even if the first one does not.
                let segment = try Segment.create(key, byteCount: byteCount) { step in
                    state?.note(step, of: request.intent)
                }
                metrics.segmentsCreated[SegmentKind(request.name)].add()
                return SharedSegment(segment)
            } catch { throw ServiceError(error) }
        }
    }

    /// Attaches to a segment by its name, for writing too if the kernel lets us, and notes before that
    /// what was found; when that fails nothing is noted.
    func opened(_ name: SegmentName, _ mode: AccessMode, _ note: inout SightingNote)
        throws(ServiceError) -> SharedSegment
    {
        var latest = note
        defer { note = latest }
        do throws(ServiceError) {
            return try opened(name, mode) { sighting in
                self.forget(latest)
                latest = self.note(name, sighting)
            }
        } catch {
            forget(latest)
            latest = SightingNote()
            throw error
        }
    }

    /// Attaches to a segment by its name, for writing too if the kernel lets us; `tell` is told what was
    /// found just before.
    func opened(
        _ name: SegmentName, _ mode: AccessMode, telling tell: ((Sighting) -> Void)? = nil
    ) throws(ServiceError) -> SharedSegment {
        do throws(SegmentError) {
            do throws(SegmentError) {
                return SharedSegment(try Self.attach(name, .readWrite, tell))
            } catch {
                guard error.code == .permissionDenied, mode == .readOnly else { throw error }
                return SharedSegment(try Self.attach(name, .readOnly, tell))
            }
        } catch {
            throw error.code == .notFound
                ? missing(name, otherwise: ServiceError(error)) : ServiceError(error)
        }
    }

    private static func attach(
        _ name: SegmentName, _ mode: AccessMode, _ tell: ((Sighting) -> Void)?
    ) throws(SegmentError) -> Segment {
        switch name {
        case .key(let key): try Segment.attach(key, mode: mode, telling: tell)
        case .identifier(let identifier):
            try Segment.attach(identifier: identifier, mode: mode, telling: tell)
        }
    }

    private func insert(
        _ shared: SharedSegment, isNew: Bool, for request: AttachRequest, at address: KernelAddress,
        _ note: inout SightingNote
    ) throws(ServiceError) -> Attachment {
        let entry = entry(shared, name: request.name, address: address, wasCreatedHere: isNew)
        var mine = note
        defer { note = mine }
        let isNoted = mine.isRecorded
        let attachment = try withRoom(for: isNoted ? nil : entry) { (room) throws(ServiceError) in
            try registry.withLock { (registry) throws(ServiceError) -> Attachment? in
                // The session may have ended while the kernel worked: then the segment goes again.
                guard let session = registry.sessions[request.session] else { throw .sessionGone }
                try registry.requireRoom(session, configuration.attachmentLimit)
                if isNoted {
                    entry.take(&mine)
                    entry.isLook = true  // until the session is attached
                }
                let id = registry.insert(entry)
                return registry.attach(request.session, to: id, request, &room)
            }
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
            keyFile: shared.segment.keyFileIdentity.map {
                Entry.FileNumbers(device: $0.device, inode: $0.inode)
            },
            segment: shared, lock: shared.segment.lock, hadUser: true,
            wasCreatedHere: wasCreatedHere)
    }

    private func keyFile(of name: SegmentName) -> Entry.FileNumbers? {
        name.keyFileIdentity.map { Entry.FileNumbers(device: $0.device, inode: $0.inode) }
    }

    /// Attaches the session of a request to an entry.
    ///
    /// - Returns: `nil` when the entry is being taken down.
    private func join(_ id: EntryID, for request: AttachRequest, at address: KernelAddress)
        throws(ServiceError) -> Attachment?
    {
        let file = keyFile(of: request.name)
        // What was only looked at until now is not recorded yet.
        let unrecorded = registry.withLock { registry -> Entry? in
            guard let entry = registry.entries[id], entry.slot == .none else { return nil }
            return Entry(copying: entry)
        }
        let attachment = try withRoom(for: unrecorded) { (room) throws(ServiceError) in
            try registry.withLock { (registry) throws(ServiceError) -> Attachment? in
                guard let session = registry.sessions[request.session] else { throw .sessionGone }
                try registry.requireRoom(session, configuration.attachmentLimit)
                guard let entry = registry.entries[id], let shared = entry.segment else {
                    return nil
                }
                try registry.requireSameFile(file, id, request.name)
                guard request.mode == .readOnly || shared.segment.mode == .readWrite else {
                    throw ServiceError(
                        .permissionDenied, "the kernel lets this server only read \(entry.name)")
                }
                registry.learnKey(of: id, from: request.name, file)
                return registry.attach(request.session, to: id, request, &room)
            }
        }
        if attachment != nil {
            remember(request.name)
            recordName(of: id)
        }
        return attachment
    }
}

extension ServiceError {
    fileprivate static func exists(_ name: SegmentName) -> ServiceError {
        ServiceError(.alreadyExists, "a segment \(name) exists already")
    }
}

extension Registry {
    /// Refuses one attachment too many.
    fileprivate func requireRoom(_ session: SessionRecord, _ limit: Int) throws(ServiceError) {
        guard session.attachments.count >= limit else { return }
        throw ServiceError(
            .outOfResources,
            "a session may be attached to \(limit) segments (max_attachments_per_session)")
    }

    /// Refuses a name whose key file is another than the one an entry was reached by: of two files
    /// that make one System V key, one names the other's segment by accident.
    fileprivate func requireSameFile(
        _ file: Entry.FileNumbers?, _ id: EntryID, _ name: SegmentName
    ) throws(ServiceError) {
        guard let file, let entry = entries[id], let other = entry.keyFile, file != other else {
            return
        }
        throw ServiceError(
            .keyCollision, "the name \(name) leads to the same System V key as \(entry.name)")
    }

    /// Notes that a session is attached.
    fileprivate func attach(
        _ session: Session.ID, to id: EntryID, _ request: SegmentService.AttachRequest,
        _ room: inout Room
    ) -> Attachment? {
        guard let entry = entries[id] else { return nil }
        let record = AttachmentRecord(
            entry: id, mode: request.mode, onLastDetach: request.onLastDetach, attachedAt: .now)
        self.record(record, of: session, &room)
        sessions[session]?.attachments[entry.address] = record
        sessions[session]?.addresses[request.name] = entry.address
        entry.sessionCount += 1
        entry.hadUser = true
        entry.endedWithLook = false
        if entry.isLook {
            entry.isLook = false
            recordFlags(of: id)
        }
        return describe(record, of: session)
    }

    /// Gives an entry that was reached by number the key that somebody knows for it.
    fileprivate mutating func learnKey(
        of id: EntryID, from name: SegmentName, _ file: Entry.FileNumbers?
    ) {
        guard case .key(let key) = name, let entry = entries[id] else { return }
        switch entry.name {
        case .identifier:
            rename(id, name)
            entries[id]?.isRenamed = true
            entries[id]?.lock = SegmentLock(ofSegment: key)
            entries[id]?.keyFile = file
        case .key(let known):
            if known.legacyKey == nil, key.legacyKey != nil {
                rename(id, name)
                entries[id]?.isRenamed = true
            }
        }
    }
}
