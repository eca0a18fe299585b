import SharedMemory
import Synchronization

/// What a server found of a predecessor that was killed.
public struct RecoveryReport: Sendable {
    /// How many sessions live on.
    public internal(set) var sessionCount = 0
    /// How many attachments are back.
    public internal(set) var attachmentCount = 0
    /// How many locks are held as before.
    public internal(set) var holdCount = 0
    /// The segments whose lock was lost to somebody else meanwhile.
    public internal(set) var lostLocks: [String] = []
    /// The segments that are gone, or cannot be attached any more, and what the kernel said.
    public internal(set) var lostSegments: [String] = []
    /// How many creations that nobody was told of were undone.
    public internal(set) var undoneCount = 0
    /// How many semaphores were freed that the predecessor had taken for a moment.
    public internal(set) var freedCount = 0
}

extension SegmentService {
    /// Takes over what a predecessor with the same state file left when it was killed.
    ///
    /// Sessions live on, for as much longer as nobody was there to serve them. Attachments are made
    /// again, one mapping a segment, to the very segments that they were to. A POSIX lock was never
    /// free; a System V lock, which the kernel freed, is taken again unless somebody had it
    /// meanwhile. What was in the middle of being made or removed is undone or finished.
    ///
    /// Called after ``start()``, and before the first request.
    ///
    /// - Returns: What was found; `nil` where the predecessor was not killed, but ended in good order
    ///   or never was.
    public func recover() -> RecoveryReport? {
        guard let state, let image = state.takeFound() else { return nil }
        var recovery = Recovery(
            image, state,
            former: FormerHolder(mark: state.mark, processes: image.head.processes))
        recovery.findSegments()
        let now = MonotonicInstant.now
        recovery.findSessions(now)
        recovery.findAttachments()
        recovery.undoCreations()
        recovery.findMade()
        recovery.resumeLocks()

        for entry in recovery.entries.values { remember(entry.name) }
        let unused = registry.withLock { $0.adopt(recovery) }
        state.endRecovery()
        if !recovery.sessions.isEmpty { keepBeating() }
        for (id, session) in recovery.sessions where session.expiresAt > now {
            scheduleExpiry(of: id, at: session.expiresAt)
        }
        // What expired or was let go meanwhile takes its segments with it, if they are nobody's.
        for (id, lock, isLook) in unused {
            takeDownWhenPossible(id, lock, because: isLook ? .peeked : .sessionEnded)
        }
        for (id, process) in recovery.processes { bind(id, to: process) }
        for id in recovery.bereft { endBound(id) }
        for (id, session) in recovery.sessions where session.hasExpired(now) {
            _ = try? endSession(id, because: .expired)
        }
        return image.head.hasEnded ? nil : recovery.report
    }
}

/// The steps of a recovery, in their order, and what they found.
struct Recovery {
    private let image: StateImage
    private let state: StateStore
    private let former: FormerHolder
    fileprivate(set) var sessions: [Session.ID: SessionRecord] = [:]
    /// The processes that sessions are bound to, and the sessions whose process has exited.
    fileprivate(set) var processes: [(Session.ID, BoundProcess)] = []
    fileprivate(set) var bereft: [Session.ID] = []
    /// By the serial numbers of the segments.
    fileprivate(set) var entries: [UInt64: Entry] = [:]
    fileprivate var attachments: [(Session.ID, UInt64, AttachmentRecord)] = []
    fileprivate var holders: [UInt64: LockHolder] = [:]
    /// What was made here and is there still.
    fileprivate var made: [(StateSlot, MadeState)] = []
    /// The segments that are no longer found by their names.
    fileprivate var nameless: Set<UInt64> = []
    fileprivate(set) var report = RecoveryReport()

    init(_ image: StateImage, _ state: StateStore, former: FormerHolder) {
        self.image = image
        self.state = state
        self.former = former
    }

    /// Attaches to the segments again that are there still.
    mutating func findSegments() {
        Leftovers.finishRemovals(image.segments.map { ($0.1.name, $0.1.identity) })
        // One of them may have been about to be removed while sessions were attached to it.
        let attached = Set(image.attachments.map(\.1.segment))
        let inOrder =
            image.segments.filter { attached.contains($0.1.serial) }
            + image.segments.filter { !attached.contains($0.1.serial) }
        var identities: Set<SegmentIdentity> = []
        for (slot, segment) in inOrder {
            let isLook = segment.isLook && !attached.contains(segment.serial)
            // A look at what nobody used is over, and that is all.
            guard !isLook || segment.ending == .destroy else {
                state.release(slot, .segment)
                continue
            }
            guard entries[segment.serial] == nil, !identities.contains(segment.identity) else {
                state.release(slot, .segment)
                continue
            }
            do throws(SegmentError) {
                let shared = SharedSegment(try Self.reattach(segment))
                let entry = Entry(segment, shared, slot)
                entry.isLook = isLook
                entry.endedWithLook = isLook
                entries[segment.serial] = entry
                identities.insert(segment.identity)
                if !shared.segment.hasItsName { nameless.insert(segment.serial) }
            } catch {
                if error.code == .notFound {
                    segment.name.removeRemains(
                        keyFile: segment.keyFile, semaphore: segment.semaphore)
                }
                state.release(slot, .segment)
                if !isLook { report.lostSegments.append(error.description) }
            }
        }
    }

    private static func reattach(_ segment: SegmentState) throws(SegmentError) -> Segment {
        do throws(SegmentError) {
            return try .reattach(
                segment.name, identity: segment.identity, keyFile: segment.keyFile,
                mode: .readWrite)
        } catch {
            guard error.code == .permissionDenied else { throw error }
            return try .reattach(
                segment.name, identity: segment.identity, keyFile: segment.keyFile, mode: .readOnly)
        }
    }

    /// Lets sessions live on, each for as much longer as the server was away, but no more than once
    /// over.
    mutating func findSessions(_ now: MonotonicInstant) {
        let lastAlive = min(image.head.lastAlive, now)
        for (slot, session) in image.sessions {
            guard sessions[session.id] == nil else {
                state.release(slot, .session)
                continue
            }
            let record = SessionRecord(
                name: session.name, binding: session.binding, timeToLive: session.timeToLive,
                createdAt: session.createdAt,
                expiresAt: session.expiry(now: now, lastAlive: lastAlive))
            record.slot = slot
            if let process = session.process {
                record.process = process
                if let found = BoundProcess(process) {
                    record.holdCount = 1
                    processes.append((session.id, found))
                } else {
                    bereft.append(session.id)
                }
            }
            sessions[session.id] = record
            state.setExpiry(record.holdCount > 0 ? .distantFuture : record.expiresAt, of: slot)
        }
        report.sessionCount = sessions.count
    }

    mutating func findAttachments() {
        for (slot, attachment) in image.attachments {
            guard let entry = entries[attachment.segment],
                sessions[attachment.session]?.attachments[entry.address] == nil
            else {
                state.release(slot, .attachment)
                continue
            }
            guard sessions[attachment.session] != nil else {
                // Its session had ended, and the kill came before it was let go.
                entries[attachment.segment]?.ending = attachment.onLastDetach
                state.release(slot, .attachment)
                continue
            }
            let record = AttachmentRecord(
                entry: 0, mode: attachment.mode, onLastDetach: attachment.onLastDetach,
                attachedAt: attachment.attachedAt)
            record.slot = slot
            attachments.append((attachment.session, attachment.segment, record))
            sessions[attachment.session]?.attachments[entry.address] = record
            sessions[attachment.session]?.addresses[entry.name] = entry.address
            entries[attachment.segment]?.sessionCount += 1
        }
        report.attachmentCount = attachments.count
    }

    /// Removes what was made by creations that nobody was told of.
    mutating func undoCreations() {
        for (slot, creation) in image.creations {
            creation.notes.undo(creation.key, by: former)
            state.release(slot, .creation)
        }
        report.undoneCount = image.creations.count
    }

    /// Counts the segments again that were made here.
    mutating func findMade() {
        for (slot, segment) in image.made {
            if segment.key.hasSegment {
                made.append((slot, segment))
            } else {
                state.release(slot, .made)
            }
        }
    }

    /// Goes on holding what sessions held, and frees what was only held in passing.
    mutating func resumeLocks() {
        var kept: Set<String> = []
        for (slot, segment) in image.segments {
            guard let entry = entries[segment.serial], entry.slot == slot, let lock = entry.lock
            else { continue }
            if !entry.isLook { lock.finishCreation() }
            guard let holder = segment.holder else { continue }
            guard sessions[holder.session]?.attachments[entry.address] != nil,
                lock.resume(after: former)
            else {
                state.clearHolder(of: slot)
                report.lostLocks.append(segment.name.description)
                continue
            }
            holders[segment.serial] = holder
            if let file = lock.fileName { kept.insert(file) }
        }
        report.holdCount = holders.count
        report.freedCount = Leftovers.freeSemaphores(marked: former.mark, but: kept)
    }
}

extension SessionState {
    /// Until when a session lives that nobody served since the server was alive last.
    func expiry(now: MonotonicInstant, lastAlive: MonotonicInstant) -> MonotonicInstant {
        let latest = lastAlive.advanced(byMilliseconds: timeToLive)
        let expiry = min(max(expiresAt, MonotonicInstant(nanoseconds: 0)), latest)
        // One that had expired before the kill had only not been ended yet.
        guard expiry > lastAlive else { return expiry }
        let away = now.nanoseconds - lastAlive.nanoseconds
        return MonotonicInstant(
            nanoseconds: expiry.nanoseconds + min(away, timeToLive * 1_000_000))
    }
}

extension Entry {
    fileprivate convenience init(
        _ record: SegmentState, _ shared: SharedSegment, _ slot: StateSlot
    ) {
        let address: KernelAddress =
            switch record.identity {
            case .file: shared.segment.address ?? .posix([])
            case .systemV(let identifier, let key):
                key == 0 ? .identifier(identifier) : .systemV(key)
            }
        self.init(
            address: address, name: record.name, byteCount: shared.segment.byteCount,
            keyFile: record.keyFile.map { FileNumbers(device: $0.device, inode: $0.inode) },
            segment: shared, lock: shared.segment.lock, hadUser: true,
            wasCreatedHere: record.wasCreatedHere)
        ending = record.ending
        self.slot = slot
        serial = record.serial
        if record.isLockMadeHere { lock?.adopt() }
    }
}

extension Registry {
    /// Takes over what a recovery found.
    ///
    /// - Returns: The entries that no session is attached to.
    fileprivate mutating func adopt(_ recovery: Recovery) -> [(EntryID, SegmentLock?, isLook: Bool)]
    {
        sessions = recovery.sessions
        for (slot, segment) in recovery.made {
            creations.note(segment.key, segment.byteCount, slot)
        }
        var ids: [UInt64: EntryID] = [:]
        var unused: [(EntryID, SegmentLock?, isLook: Bool)] = []
        // Those without their name first: the address leads to the other one.
        let serials = recovery.entries.keys.sorted()
        let nameless = serials.filter { recovery.nameless.contains($0) }
        for serial in nameless + serials where ids[serial] == nil {
            guard let entry = recovery.entries[serial] else { continue }
            let id = insert(entry)
            ids[serial] = id
            if recovery.nameless.contains(serial) { supersede(id) }
            if entry.sessionCount == 0 { unused.append((id, entry.lock, entry.isLook)) }
            if let holder = recovery.holders[serial] { entries[id]?.queue.phase = .held(holder) }
        }
        for (session, serial, record) in recovery.attachments {
            guard let id = ids[serial], let address = entries[id]?.address else { continue }
            let actual = AttachmentRecord(
                entry: id, mode: record.mode, onLastDetach: record.onLastDetach,
                attachedAt: record.attachedAt)
            actual.slot = record.slot
            sessions[session]?.attachments[address] = actual
        }
        return unused
    }
}
