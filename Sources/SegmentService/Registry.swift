import SharedMemory

/// Everything the service knows of sessions and of the segments it holds: one value, changed by
/// rules that make no system call.
struct Registry {
    var sessions: [Session.ID: SessionRecord] = [:]
    var entries: [EntryID: Entry] = [:]

    /// Whom the last question was about: the next one mostly is about the same, and then costs no
    /// search.
    private var lastSession: (id: Session.ID, record: SessionRecord)?
    private var lastEntry: (id: EntryID, entry: Entry)?

    /// The entry that an address leads to now.
    ///
    /// An entry whose segment lost its name to another is reached only through the sessions that
    /// are attached to it.
    var current: [KernelAddress: EntryID] = [:]

    /// The entries by their names, the last one of each.
    private(set) var named: [SegmentName: EntryID] = [:]

    /// The addresses whose segment somebody is making or attaching to just now, to make an entry of
    /// it, and what waits for that.
    ///
    /// One at a time: two mappings of ours would each take the other for somebody else's.
    private var openings: [KernelAddress: Opening] = [:]

    private struct Opening {
        var actions: [@Sendable () -> Void] = []
        /// Whether the segment lost its last user while it was looked at, and it is still to be
        /// decided what becomes of it.
        let isOwed: Bool
        /// Where that is recorded.
        var slot = StateSlot.none
    }

    /// The plain keys that clients used, by the native value Qt derives from each: a derived name
    /// cannot be read backwards.
    var plainKeys: [NativeKey: String] = [:]

    /// What was made here, and may be there still.
    var creations: Creations

    private var lastEntryID: EntryID = 0
    private var lastToken: FencingToken
    var isDraining = false
    var isWatchingHolders = false
    /// Whether the timer notes now and then that the server lives.
    var isBeating = false
    /// Where what must outlive a kill is written; everything here that writes to it only stores
    /// into memory.
    let state: StateStore?

    /// How many plain keys are remembered.
    private static let plainKeyLimit = 4096

    /// - Parameters:
    ///   - firstToken: A number above every fencing token given before.
    ///   - state: Where what must outlive a kill is written.
    init(firstToken: FencingToken, state: StateStore? = nil) {
        lastToken = max(firstToken, state?.lastToken ?? 0)
        self.state = state
        creations = Creations(state)
    }

    mutating func nextToken() -> FencingToken {
        lastToken += 1
        state?.note(lastToken)
        return lastToken
    }

    mutating func remember(plainKey: String, of key: NativeKey) {
        if plainKeys.count >= Self.plainKeyLimit { plainKeys = [:] }
        plainKeys[NativeKey(key.value, type: key.type)] = plainKey
    }

    // MARK: Entries

    mutating func insert(_ entry: Entry) -> EntryID {
        lastEntryID += 1
        entries[lastEntryID] = entry
        if entry.wasCreatedHere, case .key(let key) = entry.name {
            creations.note(key, entry.byteCount)
        }
        current[entry.address] = lastEntryID
        named[entry.name] = lastEntryID
        return lastEntryID
    }

    func isOpening(_ address: KernelAddress) -> Bool { openings[address] != nil }

    /// Begins to open the segment of an address, which nobody may be doing.
    mutating func beginOpening(_ address: KernelAddress) {
        openings[address] = Opening(isOwed: false)
    }

    /// Whether what is being opened is a segment that had lost its last user; see ``Entry/remnant``.
    func isOwed(_ address: KernelAddress) -> Bool { openings[address]?.isOwed ?? false }

    /// Begins to open a segment anew that was let go of and not yet decided about: whoever opens it
    /// decides in the end, and the errand that waited for the lock is dropped.
    mutating func reopen(_ id: EntryID) {
        guard let address = entries[id]?.address, let slot = entries[id]?.slot else { return }
        // Its record stays until whoever opens it has made one.
        entries[id]?.slot = .none
        _ = remove(id)
        openings[address] = Opening(isOwed: true, slot: slot)
    }

    /// Leaves something to whoever is opening the segment of an address.
    mutating func afterOpening(_ address: KernelAddress, _ action: @escaping @Sendable () -> Void) {
        openings[address]?.actions.append(action)
    }

    /// Ends the opening of an address.
    ///
    /// - Returns: What waited for it, to be called by the caller.
    mutating func endOpening(_ address: KernelAddress) -> [@Sendable () -> Void] {
        guard let opening = openings.removeValue(forKey: address) else { return [] }
        state?.release(opening.slot, .segment)
        return opening.actions
    }

    /// The entry of a number.
    mutating func entry(_ id: EntryID) -> Entry? {
        if let lastEntry, lastEntry.id == id { return lastEntry.entry }
        guard let entry = entries[id] else { return nil }
        lastEntry = (id, entry)
        return entry
    }

    /// Lets a peek use the segment of an entry, until ``SegmentService/endPeek(_:)``.
    ///
    /// - Returns: The segment; nil when it is not there, or about to go.
    mutating func beginPeek(_ id: EntryID) -> SharedSegment? {
        guard let entry = entry(id), entry.afterClosing == nil, let shared = entry.segment else {
            return nil
        }
        entry.peekCount += 1
        return shared
    }

    /// Lets a peek use the segment that an address leads to.
    mutating func beginPeek(at address: KernelAddress) -> (EntryID, SharedSegment)? {
        guard let id = current[address], let shared = beginPeek(id) else { return nil }
        return (id, shared)
    }

    /// Forgets an entry.
    ///
    /// - Returns: What still waited for its lock, to be answered by the caller.
    mutating func remove(_ id: EntryID) -> [LockWaiter] {
        lastEntry = nil
        guard let entry = entries.removeValue(forKey: id) else { return [] }
        state?.release(entry.slot, .segment)
        entry.lock?.retire()
        if current[entry.address] == id { current[entry.address] = nil }
        if named[entry.name] == id { named[entry.name] = nil }
        return entry.queue.removeAll()
    }

    /// Gives an entry another name.
    mutating func rename(_ id: EntryID, _ name: SegmentName) {
        guard let entry = entries[id] else { return }
        if named[entry.name] == id { named[entry.name] = nil }
        named[name] = id
        entries[id]?.name = name
    }

    /// Lets an address lead to a newer segment; the entry lives on with those attached to it.
    mutating func supersede(_ id: EntryID) {
        guard let address = entries[id]?.address, current[address] == id else { return }
        current[address] = nil
    }

    // MARK: Sessions

    /// The session of an id.
    mutating func session(_ id: Session.ID) -> SessionRecord? {
        if let lastSession, lastSession.id == id { return lastSession.record }
        guard let record = sessions[id] else { return nil }
        lastSession = (id, record)
        return record
    }

    /// Forgets a session.
    mutating func remove(_ id: Session.ID) {
        lastSession = nil
        sessions[id] = nil
    }

    /// Finds a session and renews it.
    mutating func renew(_ id: Session.ID, now: MonotonicInstant) throws(ServiceError) {
        guard let record = session(id) else { throw .sessionGone }
        record.renew(now: now, state)
    }

    /// When the timer is to look next whether a session has expired; now, if it has.
    ///
    /// `nil` when there is nothing to look for: it is gone, or held, and then the end of the hold
    /// has it watched anew.
    mutating func nextLook(at id: Session.ID, now: MonotonicInstant) -> MonotonicInstant? {
        guard let record = sessions[id] else { return nil }
        guard record.holdCount == 0 else {
            record.isWatched = false
            return nil
        }
        return record.hasExpired(now) ? now : record.expiresAt
    }

    /// The entry that a session is attached to by an address, and how.
    func attachment(_ session: Session.ID, _ address: KernelAddress?)
        throws(ServiceError) -> AttachmentRecord
    {
        guard let record = sessions[session] else { throw .sessionGone }
        guard let address, let attachment = record.attachments[address] else {
            throw ServiceError(.notAttached, "the session is not attached to the segment")
        }
        return attachment
    }

    /// What a client is told of an attachment.
    func describe(_ attachment: AttachmentRecord, of session: Session.ID) -> Attachment? {
        guard let entry = entries[attachment.entry] else { return nil }
        let holder = entry.queue.holder
        return Attachment(
            segment: entry.title, hasLostName: entry.lostNameTo != nil, mode: attachment.mode,
            byteCount: entry.byteCount,
            onLastDetach: attachment.onLastDetach, attachedAt: attachment.attachedAt,
            fencingToken: holder?.session == session ? holder?.token : nil)
    }

    /// What a client is told of a session.
    func describe(_ id: Session.ID, now: MonotonicInstant, wall: WallTime) -> Session? {
        guard let record = sessions[id] else { return nil }
        let expiry = record.holdCount > 0 ? record.expiry(after: now) : record.expiresAt
        let left = max(0, expiry.nanoseconds - now.nanoseconds)
        let nanoseconds = wall.nanoseconds + left
        return Session(
            id: id, name: record.name, binding: record.binding, timeToLive: record.timeToLive,
            createdAt: record.createdAt,
            expiresAt: WallTime(
                seconds: wall.seconds + nanoseconds / 1_000_000_000,
                nanoseconds: nanoseconds % 1_000_000_000),
            attachments: record.attachments.values
                .sorted { $0.entry < $1.entry }
                .compactMap { describe($0, of: id) })
    }
}

typealias EntryID = Int

/// A segment that the service holds: one mapping, whoever uses it.
///
/// `@unchecked Sendable`: once it is in the registry, it is touched only under the registry's lock;
/// what is to be looked at outside is taken out as an ``Outline`` or a copy.
final class Entry: @unchecked Sendable {
    let address: KernelAddress
    var name: SegmentName { didSet { rename() } }
    /// What the segment is called since another process took its name away, or gave that to another
    /// one: no two segments go by one name.
    var lostNameTo: String? { didSet { rename() } }
    /// What it is called.
    private(set) var naming: Naming
    private var knownTitle: String?
    let byteCount: Int
    /// Which file made the System V key.
    var keyFile: FileNumbers?
    /// The one thing that keeps the memory attached; those who read or write hold it meanwhile.
    var segment: SharedSegment?
    /// What is left of it once the memory was let go of after a look, until it is decided under the
    /// lock what becomes of the segment: its last user left meanwhile, and nobody came since.
    var remnant: Remnant?
    var lock: SegmentLock?
    var queue = LockQueue()
    /// What to do once the thread that takes the entry down is through with it; `nil` while none is.
    var afterClosing: [@Sendable () -> Void]?
    /// What becomes of the segment when nobody here uses it any more.
    var ending = LastDetach.destroy
    var sessionCount = 0
    /// Requests without a session that look at it.
    var peekCount = 0
    /// Whether it was in use when it was first looked at, or a session was attached since.
    ///
    /// What nobody used is not destroyed by being looked at.
    var hadUser: Bool
    /// Whether a look was the last to use it: it does not stay for a lock that others hold.
    var endedWithLook = false
    /// Whether no session was attached since it was opened to be looked at.
    var isLook = false
    var wasCreatedHere: Bool
    /// Where it is recorded, and the number it has there.
    var slot = StateSlot.none
    var serial: UInt64 = 0
    /// Whether it has another name than the one recorded.
    var isRenamed = false

    init(
        address: KernelAddress, name: SegmentName, byteCount: Int, keyFile: FileNumbers? = nil,
        segment: SharedSegment? = nil, lock: SegmentLock? = nil, hadUser: Bool,
        wasCreatedHere: Bool
    ) {
        self.address = address
        self.name = name
        naming = Naming(name: name, lostNameTo: nil)
        self.byteCount = byteCount
        self.keyFile = keyFile
        self.segment = segment
        self.lock = lock
        self.hadUser = hadUser
        self.wasCreatedHere = wasCreatedHere
    }

    /// A copy of what is recorded of it, to be looked at outside the registry.
    convenience init(copying entry: Entry) {
        self.init(
            address: entry.address, name: entry.name, byteCount: entry.byteCount,
            keyFile: entry.keyFile, segment: entry.segment, lock: entry.lock,
            hadUser: entry.hadUser, wasCreatedHere: entry.wasCreatedHere)
        ending = entry.ending
    }

    /// What of it may be taken out of the registry without holding the memory.
    struct Outline {
        let address: KernelAddress
        let name: SegmentName
        let naming: Naming
        let lock: SegmentLock?
        let slot: StateSlot
        let isRenamed: Bool

        var title: String { naming.title }
    }

    var outline: Outline {
        Outline(
            address: address, name: name, naming: naming, lock: lock, slot: slot,
            isRenamed: isRenamed)
    }

    /// What it is called, not yet made a text, which few need.
    final class Naming: Sendable {
        let name: SegmentName
        let lostNameTo: String?

        init(name: SegmentName, lostNameTo: String?) {
            self.name = name
            self.lostNameTo = lostNameTo
        }

        var title: String { lostNameTo ?? name.description }
    }

    /// The text form of its name, made when it is first asked for.
    var title: String {
        if let knownTitle { return knownTitle }
        let title = naming.title
        knownTitle = title
        return title
    }

    private func rename() {
        naming = Naming(name: name, lostNameTo: lostNameTo)
        knownTitle = nil
    }

    struct FileNumbers: Equatable {
        let device: UInt64
        let inode: UInt64
    }
}

/// A segment that several requests use at the same time.
final class SharedSegment: Sendable {
    let segment: Segment

    init(_ segment: consuming Segment) { self.segment = segment }
}

/// A session as the registry keeps it.
///
/// `@unchecked Sendable`: as long as it is in the registry, it is touched only under the registry's
/// lock.
final class SessionRecord: @unchecked Sendable {
    let name: String?
    let binding: Session.Binding
    let timeToLive: Int64
    let createdAt: WallTime
    var expiresAt: MonotonicInstant
    /// Where it is recorded.
    var slot = StateSlot.none
    var holdCount = 0
    /// Whether the timer is going to look whether it has expired.
    var isWatched = true
    /// Called when the session ends: its hold streams end with it.
    var onEnd: [@Sendable () -> Void] = []
    /// The process that it is bound to, where it is to one; what is bound like that is held by the
    /// process, and counts as such.
    var process: BoundProcess.Identity?
    var attachments: [KernelAddress: AttachmentRecord] = [:]
    /// The addresses behind the names by which the client attached, so that the next request by
    /// the same name asks neither kernel nor file system.
    var addresses: [SegmentName: KernelAddress] = [:]
    /// Whom the last request came to, by which name: most of the next ones do the same.
    private var lastName: KnownName?
    private var lastAttachment: AttachmentRecord?

    init(
        name: String?, binding: Session.Binding, timeToLive: Int64, createdAt: WallTime,
        expiresAt: MonotonicInstant
    ) {
        self.name = name
        self.binding = binding
        self.timeToLive = timeToLive
        self.createdAt = createdAt
        self.expiresAt = expiresAt
    }

    /// The attachment that a name leads to, where the client attached by that name.
    func attachment(by name: SegmentName, _ known: KnownName?) -> AttachmentRecord? {
        if let lastAttachment, let known, lastName === known { return lastAttachment }
        guard let address = addresses[name], let attachment = attachments[address] else {
            return nil
        }
        if let known { (lastName, lastAttachment) = (known, attachment) }
        return attachment
    }

    func expiry(after now: MonotonicInstant) -> MonotonicInstant {
        now.advanced(byMilliseconds: timeToLive)
    }

    /// Lets the session live for its time to live from now.
    func renew(now: MonotonicInstant, _ state: StateStore? = nil) {
        expiresAt = expiry(after: now)
        // While a stream holds it, that is what the file says.
        if holdCount == 0 { state?.setExpiry(expiresAt, of: slot) }
    }

    /// Forgets the attachment to a segment, and the names it was reached by.
    func forget(_ address: KernelAddress) {
        (lastName, lastAttachment) = (nil, nil)
        attachments[address] = nil
        addresses = addresses.filter { $0.value != address }
    }

    func hasExpired(_ now: MonotonicInstant) -> Bool { holdCount == 0 && expiresAt <= now }
}

/// A session's attachment as the registry keeps it.
///
/// `@unchecked Sendable`: once it is in the registry, what varies is touched only under the
/// registry's lock.
final class AttachmentRecord: @unchecked Sendable {
    let entry: EntryID
    let mode: AccessMode
    let onLastDetach: LastDetach
    let attachedAt: WallTime
    /// Where it is recorded; set before it is in the registry.
    var slot = StateSlot.none
    /// Whether a write to somebody else's segment is on record.
    var hasWritten = false

    init(entry: EntryID, mode: AccessMode, onLastDetach: LastDetach, attachedAt: WallTime) {
        self.entry = entry
        self.mode = mode
        self.onLastDetach = onLastDetach
        self.attachedAt = attachedAt
    }
}

extension ServiceError {
    /// What is said of every session that is not there, whatever became of it.
    package static let sessionGone = ServiceError(
        .sessionGone, "the session ended, expired or was never there")
    /// What is said once an orderly stop has begun.
    package static let shuttingDown = ServiceError(.shuttingDown, "the server is shutting down")
}
