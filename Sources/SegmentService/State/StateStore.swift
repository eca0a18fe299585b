import Glibc
public import SharedMemory
import Synchronization

/// Writes what must outlive a kill to the state file.
///
/// Every function but ``take(_:)`` and ``prepare(_:)``, which may make the file larger, is a few
/// stores into memory and makes no system call. ``StateLayout`` tells how the file is made, and who
/// owns its parts.
public final class StateStore: Sendable {
    private let file: MappedFile
    private let space: Mutex<Space>
    /// Held while the file grows, and for nothing else.
    private let growth = Mutex(())
    private let lastSerial: Atomic<UInt64>
    /// Whether every store has reached the file.
    private let isWhole = Atomic(true)
    /// What was read when it was opened, until somebody recovers from it.
    private let found: Mutex<StateImage?>
    private let head: [UInt64]

    /// What this server leaves in POSIX semaphores that it takes.
    let mark: UInt32
    /// The largest fencing token that was ever given, as far as it is known.
    let lastToken: FencingToken
    /// What was wrong with the file, or why it was set aside, in a sentence each.
    public let remarks: [String]
    /// Whether there was nothing in the file that a server has to know.
    public let wasEmpty: Bool

    /// Opens the state file, or makes one.
    ///
    /// A file of another boot, another IPC namespace or another /dev/shm tells of nothing that
    /// still is, and starts empty; so does one whose head cannot be read. Of the fencing tokens it
    /// is remembered all the same how far they had come.
    ///
    /// - Parameter path: The file, in a directory that only this user can write to and of which
    ///   this process has the lock.
    /// - Throws: ``SystemCallError`` when the file can be neither opened nor made.
    public convenience init(_ path: String) throws(SystemCallError) {
        try self.init(MappedFile(path, byteLimit: StateLayout.byteLimit))
    }

    /// Opens the state in a file that is open already.
    init(_ file: MappedFile) throws(SystemCallError) {
        self.file = file
        let words = file.words()
        lastToken = StateImage.lastToken(words)
        var image = StateImage(words)
        var remarks: [String] = []
        let host = HostIdentity.current.words
        if image == nil, !words.allSatisfy({ $0 == 0 }) {
            remarks.append("the state file is damaged; starting without what it held")
        } else if let known = image, known.head.host != host {
            remarks.append("the state of another boot or another place is discarded")
            image = nil
        }
        if let count = image?.damaged.count, count > 0 {
            remarks.append("\(count) damaged records of the state file are left out")
        }
        self.remarks = remarks
        wasEmpty = image == nil && lastToken == 0
        mark = image?.head.mark ?? .random(in: 1 ... .max)
        space = Mutex(image.map { Space($0) } ?? Space())
        lastSerial = Atomic(image?.segments.map(\.1.serial).max() ?? 0)
        let fixed = host + [UInt64(mark)]
        head = fixed + [StateImage.Head.checksum(fixed)]
        let isNew = image == nil
        found = Mutex(image)
        if isNew {
            // The tokens that were given stay in the file, whenever this is killed.
            let isHeadKept = lastToken > 0 && words.count >= StateLayout.headWordCount
            try file.clear(to: isHeadKept ? StateLayout.headWordCount * 8 : 0)
            // Where there is no room now, there may be when the first session comes.
            _ = try? growth.withLock { (_) throws(SystemCallError) in try begin() }
        }
        // What text a damaged record had is free already, or another's.
        for (slot, kind) in image?.damaged ?? [] { free(slot, kind) }
    }

    /// Writes the head of a new file.
    private func begin() throws(SystemCallError) {
        try file.grow(to: StateLayout.headWordCount * 8)
        file.write(head, at: StateLayout.Head.host)
        file.store(lastToken, at: StateLayout.Head.lastToken)
        file.store(UInt64(getpid()), at: StateLayout.Head.formerProcess)
        file.store(UInt64(getpid()), at: StateLayout.Head.process)
        file.store(0, at: StateLayout.Head.ending)
        file.store(StateLayout.magic, at: StateLayout.Head.magic)
    }

    /// Hands over what was found, once, to whoever is going to deal with it; until then the file is
    /// the predecessor's.
    func takeFound() -> StateImage? {
        let image = found.withLock { $0.take() }
        guard let image else { return nil }
        storeHead(UInt64(getpid()), at: StateLayout.Head.process)
        storeHead(0, at: StateLayout.Head.ending)
        return image
    }

    /// Notes that what a predecessor left has been dealt with.
    func endRecovery() {
        storeHead(UInt64(getpid()), at: StateLayout.Head.formerProcess)
    }

    /// Ends the file in good order: it goes on telling how far the fencing tokens came, and of the
    /// segments made here that are there still.
    ///
    /// - Returns: Whether there is anything to tell; otherwise the file may go.
    public func end() -> Bool {
        guard file.byteCount >= StateLayout.headWordCount * 8 else { return false }
        if space.withLock(\.isEmpty) {
            guard file.read(at: StateLayout.Head.lastToken, count: 1) != [0] else { return false }
            file.cut(to: StateLayout.headWordCount * 8)
        }
        storeHead(1, at: StateLayout.Head.ending)
        return true
    }

    // MARK: Head

    /// Notes that the server lives.
    func beat(_ now: MonotonicInstant) {
        storeHead(UInt64(now.nanoseconds), at: StateLayout.Head.lastAlive)
    }

    /// Notes a fencing token before anybody is told of it.
    func note(_ token: FencingToken) { storeHead(token, at: StateLayout.Head.lastToken) }

    private func storeHead(_ word: UInt64, at index: Int) {
        guard file.byteCount >= StateLayout.headWordCount * 8 else { return }
        check(file.store(word, at: index))
    }

    // MARK: Slots

    /// Takes a free slot; makes the file larger where there is none.
    ///
    /// - Throws: ``SystemCallError`` when there is no room for that.
    func take(_ kind: StateKind) throws(SystemCallError) -> StateSlot {
        // Somebody cut the file off: better to refuse than to acknowledge what a kill would undo.
        guard isWhole.load(ordering: .relaxed) else {
            throw SystemCallError(call: "write", number: EFAULT)
        }
        while true {
            if let number = space.withLock({ $0.free[Int(kind.rawValue)].popLast() }) {
                return StateSlot(number: number)
            }
            try growth.withLock { (_) throws(SystemCallError) in try grow(for: kind) }
        }
    }

    private func grow(for kind: StateKind) throws(SystemCallError) {
        let chunk = space.withLock { space -> Int? in
            guard space.free[Int(kind.rawValue)].isEmpty else { return nil }
            return space.chunks.firstIndex(of: nil) ?? space.chunks.count
        }
        guard let chunk else { return }  // another thread was here first
        guard chunk < StateLayout.chunkLimit else {
            throw SystemCallError(call: "posix_fallocate", number: ENOSPC)
        }
        if file.byteCount < StateLayout.headWordCount * 8 { try begin() }
        let start = StateLayout.chunkIndex(chunk)
        try file.grow(to: max(file.byteCount, (start + StateLayout.chunkWordCount) * 8))
        check(
            file.write([UInt64](repeating: 0, count: StateLayout.chunkWordCount), at: start)
                && file.store(StateLayout.chunkMark(kind), at: start))
        space.withLock { space in
            if chunk == space.chunks.count { space.chunks.append(nil) }
            space.add(chunk, kind)
        }
    }

    /// Puts a record into a slot, with its text.
    func write(_ record: some StateRecord, _ text: StateText = .none, at slot: StateSlot) {
        guard slot != .none else { return }
        let kind = type(of: record).kind
        let words = record.words(text)
        let index = slot.index(kind)
        check(file.write(words, at: index) && file.store(kind.commitWord(words), at: index))
    }

    /// Ends a record and frees its slot.
    func release(_ slot: StateSlot, _ kind: StateKind) {
        guard slot != .none else { return }
        let index = slot.index(kind)
        let text = kind.textWord.map { StateText(word: file.read(at: index + $0, count: 1)[0]) }
        let wasWritten = file.read(at: index, count: 1)[0] != 0
        free(slot, kind)
        if let text, wasWritten { release(text) }
    }

    private func free(_ slot: StateSlot, _ kind: StateKind) {
        check(file.store(0, at: slot.index(kind)))
        space.withLock { $0.free[Int(kind.rawValue)].append(slot.number) }
    }

    /// A record that is ready to be written.
    struct Prepared<Record: StateRecord>: Sendable {
        var record: Record
        let text: StateText
        let slot: StateSlot
    }

    /// Takes what a record needs.
    ///
    /// - Throws: ``SystemCallError`` when there is no room; nothing is taken then.
    func prepare<Record: StateRecord>(_ record: Record) throws(SystemCallError) -> Prepared<Record>
    {
        let slot = try take(Record.kind)
        do throws(SystemCallError) {
            return Prepared(record: record, text: try write(record.text), slot: slot)
        } catch {
            space.withLock { $0.free[Int(Record.kind.rawValue)].append(slot.number) }
            throw error
        }
    }

    /// Writes a record that was prepared.
    func commit(_ prepared: Prepared<some StateRecord>) {
        write(prepared.record, prepared.text, at: prepared.slot)
    }

    /// Gives back what was taken for a record that is not to be written.
    func discard<Record: StateRecord>(_ prepared: Prepared<Record>) {
        release(prepared.text)
        space.withLock { $0.free[Int(Record.kind.rawValue)].append(prepared.slot.number) }
    }

    // MARK: Texts

    private func write(_ text: String?) throws(SystemCallError) -> StateText {
        guard let text, !text.isEmpty else { return .none }
        let bytes = Array(text.utf8)
        guard bytes.count <= StateText.byteLimit else {
            throw SystemCallError(call: "write", number: ENAMETOOLONG)
        }
        let checksum = UInt64(StateText.checksum(of: bytes)) << 32
        var next = StateSlot.none
        // From the end, so that each piece knows the next.
        let starts = stride(from: 0, to: bytes.count, by: StateText.bytesPerPiece)
        for start in starts.reversed() {
            do throws(SystemCallError) {
                let piece = try take(.text)
                let part = bytes[start..<min(start + StateText.bytesPerPiece, bytes.count)]
                let words = [checksum | UInt64(next.number)] + StateText.words(of: part)
                check(file.write(words, at: piece.index(.text)))
                next = piece
            } catch {
                releasePieces(from: next)
                throw error
            }
        }
        return StateText(first: next, byteCount: bytes.count)
    }

    private func release(_ text: StateText) {
        if !text.isNone { releasePieces(from: text.first) }
    }

    private func releasePieces(from first: StateSlot) {
        var next = first
        let count = space.withLock { $0.chunks.count }
        while next != .none, next.chunk < count {
            let piece = next
            next = StateSlot(
                number: UInt32(
                    truncatingIfNeeded: file.read(at: piece.index(.text), count: 1)[0]))
            space.withLock { $0.free[Int(StateKind.text.rawValue)].append(piece.number) }
        }
    }

    // MARK: What changes while a record lives

    /// Notes when a session expires: the distant future while it is held.
    func setExpiry(_ instant: MonotonicInstant, of session: StateSlot) {
        guard session != .none else { return }
        check(
            file.store(
                UInt64(bitPattern: instant.nanoseconds),
                at: session.index(.session) + SessionState.expiryWord))
    }

    /// A number for a segment that none had before.
    func nextSerial() -> UInt64 { lastSerial.add(1, ordering: .relaxed).newValue }

    /// Notes what becomes of a segment without attachments, and what is known of its lock.
    func setFlags(
        _ ending: LastDetach, _ lock: SegmentLock?, isLook: Bool = false, of segment: StateSlot
    ) {
        guard segment != .none else { return }
        let index = segment.index(.segment)
        let flags = SegmentState.flags(ending, lock?.isMadeHere ?? false, isLook: isLook)
        check(file.store(flags, at: index + SegmentState.flagsWord))
        guard let semaphore = lock?.semaphoreIdentifier else { return }
        check(file.store(SegmentState.word(semaphore), at: index + SegmentState.semaphoreWord))
    }

    /// Gives a segment another name.
    ///
    /// - Throws: ``SystemCallError`` when there is no room; then it keeps the one it had.
    func rename(_ segment: StateSlot, to name: SegmentName) throws(SystemCallError) {
        guard segment != .none, let word = StateKind.segment.textWord else { return }
        let index = segment.index(.segment) + word
        let former = StateText(word: file.read(at: index, count: 1)[0])
        check(file.store(try write(name.description).word, at: index))
        release(former)
    }

    /// Notes who holds a segment's lock, which nobody did.
    func setHolder(_ holder: LockHolder, of segment: StateSlot) {
        guard segment != .none else { return }
        let index = segment.index(.segment)
        let words = [
            holder.session.words.high, holder.session.words.low,
            UInt64(bitPattern: holder.acquiredAt.seconds), UInt64(holder.acquiredAt.nanoseconds),
        ]
        check(
            file.write(words, at: index + SegmentState.holderWord)
                && file.store(holder.token, at: index + SegmentState.tokenWord))
    }

    /// Notes that nobody holds a segment's lock.
    func clearHolder(of segment: StateSlot) {
        guard segment != .none else { return }
        check(file.store(0, at: segment.index(.segment) + SegmentState.tokenWord))
    }

    /// Notes how far a creation has come.
    func note(_ step: Segment.CreationStep, of creation: StateSlot) {
        guard creation != .none else { return }
        let index = creation.index(.creation)
        switch step {
        case .madeSemaphore(let number):
            let word = SegmentState.word(number)
            check(file.store(word, at: index + CreationState.semaphoreWord))
        case .willName(let file):
            let start = index + CreationState.fileWord
            check(
                self.file.store(file.device, at: start + 1)
                    && self.file.store(file.inode, at: start))
        }
    }

    private func check(_ isStored: Bool) {
        if !isStored { isWhole.store(false, ordering: .relaxed) }
    }
}

/// Which slots of the file are free.
private struct Space {
    /// What each chunk holds; `nil` for one that is not in use.
    var chunks: [StateKind?] = []
    /// By kind.
    var free: [[UInt32]] = Array(repeating: [], count: StateKind.allCases.count + 1)

    init() {}

    /// Whether no record is in use; texts belong to records.
    var isEmpty: Bool {
        StateKind.allCases.allSatisfy { kind in
            let count = chunks.count { $0 == kind } * kind.slotsPerChunk
            return kind == .text || free[Int(kind.rawValue)].count == count
        }
    }

    /// What is free of a file that was read.
    init(_ image: StateImage) {
        var used = image.texts
        used.formUnion(image.sessions.map(\.0))
        used.formUnion(image.segments.map(\.0))
        used.formUnion(image.attachments.map(\.0))
        used.formUnion(image.creations.map(\.0))
        used.formUnion(image.made.map(\.0))
        used.formUnion(image.damaged.map(\.0))
        for (chunk, kind) in image.chunks.enumerated() {
            chunks.append(nil)
            if let kind { add(chunk, kind, but: used) }
        }
    }

    mutating func add(_ chunk: Int, _ kind: StateKind, but used: Set<StateSlot> = []) {
        chunks[chunk] = kind
        for place in (0..<kind.slotsPerChunk).reversed() {
            let slot = StateSlot(chunk: chunk, place: place)
            if !used.contains(slot) { free[Int(kind.rawValue)].append(slot.number) }
        }
    }
}
