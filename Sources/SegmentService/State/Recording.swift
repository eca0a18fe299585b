import SharedMemory
import Synchronization

/// Room in the state file for an attachment, and for the segment where that is not recorded yet.
struct Room: Sendable {
    fileprivate var attachment = StateSlot.none
    fileprivate var segment: StateStore.Prepared<SegmentState>?
}

/// Where a segment is recorded that is about to be attached to.
struct SightingNote {
    fileprivate var slot = StateSlot.none
    fileprivate var serial: UInt64 = 0
    /// Whether anybody was attached to it.
    fileprivate(set) var wasUsed = false

    var isRecorded: Bool { slot != .none }
}

extension Registry {
    /// Records an attachment that is about to be made, the segment first.
    func record(
        _ attachment: AttachmentRecord, of session: Session.ID, _ room: inout Room
    ) {
        guard let state, let entry = entries[attachment.entry] else { return }
        if entry.slot == .none, let segment = room.segment {
            room.segment = nil
            entry.slot = segment.slot
            entry.serial = segment.record.serial
            state.commit(segment)
        }
        guard entry.serial != 0 else { return }
        attachment.slot = room.attachment
        room.attachment = .none
        state.write(
            AttachmentState(
                session: session, segment: entry.serial, mode: attachment.mode,
                onLastDetach: attachment.onLastDetach, attachedAt: attachment.attachedAt),
            at: attachment.slot)
    }

    /// Records what becomes of a segment when its attachments are gone, and whose its lock is.
    func recordFlags(of id: EntryID) {
        guard let state, let entry = entries[id] else { return }
        state.setFlags(entry.recordedEnding, entry.lock, isLook: entry.isLook, of: entry.slot)
    }
}

extension SegmentService {
    /// Takes what the record of a session needs; `nil` where nothing is recorded.
    func prepare<Record: StateRecord>(
        _ record: Record
    ) throws(ServiceError) -> StateStore.Prepared<Record>? {
        guard let state else { return nil }
        do throws(SystemCallError) { return try state.prepare(record) } catch {
            throw ServiceError(state: error)
        }
    }

    /// Takes room for an attachment before the registry is changed, since that may need a system
    /// call and may fail; gives back what `body` did not use.
    ///
    /// - Parameters:
    ///   - entry: The segment, if it is not recorded yet.
    ///   - body: Makes the attachment.
    /// - Returns: What `body` returned.
    /// - Throws: What `body` threw, or ``ServiceError`` with `.outOfResources`.
    func withRoom<Result>(
        for entry: Entry?, _ body: (inout Room) throws(ServiceError) -> Result
    ) throws(ServiceError) -> Result {
        var room = Room()
        defer {
            state?.release(room.attachment, .attachment)
            if let segment = room.segment { state?.discard(segment) }
        }
        do throws(SystemCallError) {
            room.attachment = try state?.take(.attachment) ?? .none
            if let state, let entry, let record = SegmentState(entry, serial: state.nextSerial()) {
                room.segment = try state.prepare(record)
            }
        } catch { throw ServiceError(state: error) }
        return try body(&room)
    }

    /// Records that a segment is about to be created, before anything is made.
    ///
    /// - Returns: Where; to be released when the creation is answered.
    func noteCreation(_ name: SegmentName) throws(ServiceError) -> StateSlot? {
        guard let state, case .key(let key) = name else { return nil }
        let record = CreationState(key: key, notes: CreationNotes(before: key))
        guard let prepared = try prepare(record) else { return nil }
        state.commit(prepared)
        return prepared.slot
    }

    /// Records a segment that is about to be removed, so that a successor finds what is left of it
    /// if this server is killed meanwhile; where there is no room, it is removed all the same.
    ///
    /// - Parameters:
    ///   - shared: The segment.
    ///   - name: What it is called.
    ///   - address: Where that leads.
    /// - Returns: Where; to be released afterwards.
    func noteRemoval(of shared: SharedSegment, _ name: SegmentName, at address: KernelAddress)
        -> StateSlot
    {
        guard let state else { return .none }
        let entry = entry(shared, name: name, address: address, wasCreatedHere: false)
        // A kill before the end leaves a segment that is whole to be removed once more.
        entry.ending = .keep
        _ = entry.lock?.exists  // which opens it, so that its number is known
        guard let record = SegmentState(entry, serial: state.nextSerial()),
            let prepared = try? state.prepare(record)
        else { return .none }
        state.commit(prepared)
        return prepared.slot
    }

    /// Records a segment that is about to be attached to, so that a successor destroys it if it loses
    /// its last user meanwhile and this server is killed; where there is no room, it is attached to
    /// all the same.
    ///
    /// - Parameters:
    ///   - name: What it is called.
    ///   - sighting: How it was found.
    /// - Returns: The note, to be taken by an entry or forgotten.
    func note(_ name: SegmentName, _ sighting: Sighting) -> SightingNote {
        var note = SightingNote()
        note.wasUsed = sighting.isUsed
        guard let state else { return note }
        var record = SegmentState(
            serial: state.nextSerial(), identity: sighting.identity, keyFile: sighting.keyFile,
            byteCount: sighting.byteCount, wasCreatedHere: false, name: name)
        record.ending = sighting.isUsed ? .destroy : .keep
        record.isLook = true
        guard let prepared = try? state.prepare(record) else { return note }
        state.commit(prepared)
        note.slot = prepared.slot
        note.serial = record.serial
        return note
    }

    /// Ends a note that no entry took.
    func forget(_ note: SightingNote) { state?.release(note.slot, .segment) }

    /// Records the name of a segment that was first reached by another.
    func recordName(of id: EntryID) {
        guard let state, let entry = registry.withLock({ $0.entries[id]?.outline }),
            entry.isRenamed
        else { return }
        let isWritten = (try? state.rename(entry.slot, to: entry.name)) != nil
        if isWritten { registry.withLock { $0.entries[id]?.isRenamed = false } }
    }

    // MARK: Telling that the server lives

    /// How often it is noted that the server lives, in milliseconds: so much longer may a session
    /// live after a kill.
    private static let beat: Int64 = 250

    /// Notes now and then that the server lives, as long as there are sessions.
    func keepBeating() {
        guard state != nil else { return }
        let mustStart = registry.withLock { registry in
            defer { registry.isBeating = true }
            return !registry.isBeating
        }
        if mustStart { scheduleBeat() }
    }

    private func scheduleBeat() {
        timer.schedule(at: .now.advanced(byMilliseconds: Self.beat)) { [weak self] in
            guard let self else { return }
            self.state?.beat(.now)
            let goesOn = self.registry.withLock { registry in
                registry.isBeating = !registry.sessions.isEmpty
                return registry.isBeating
            }
            if goesOn { self.scheduleBeat() }
        }
    }
}

extension Entry {
    /// Makes a note the record of this entry.
    func take(_ note: inout SightingNote) {
        (slot, serial) = (note.slot, note.serial)
        note.slot = .none
    }

    /// What becomes of the segment if this server is killed: one that nobody used is not destroyed by
    /// being looked at.
    fileprivate var recordedEnding: LastDetach { isLook && !hadUser ? .keep : ending }
}

extension SegmentState {
    fileprivate init?(_ entry: Entry, serial: UInt64) {
        guard let identity = entry.segment?.segment.identity else { return nil }
        self.serial = serial
        self.identity = identity
        keyFile = entry.keyFile.map { FileIdentity(device: $0.device, inode: $0.inode) }
        byteCount = entry.byteCount
        wasCreatedHere = entry.wasCreatedHere
        name = entry.name
        ending = entry.ending
        isLockMadeHere = entry.lock?.isMadeHere ?? false
        semaphore = entry.lock?.semaphoreIdentifier
    }
}

extension ServiceError {
    /// What a client is told when the state file has no room.
    init(state error: SystemCallError) {
        self.init(.outOfResources, "there is no room to record this: \(error)")
    }
}
