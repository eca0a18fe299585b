import Glibc
import SharedMemory

/// What is recorded of one thing.
protocol StateRecord: Sendable {
    static var kind: StateKind { get }

    /// The text that goes with it.
    var text: String? { get }

    /// The words of the record; the first is 0 still.
    func words(_ text: StateText) -> [UInt64]

    /// Reads the words of a record whose checksum is right; what they say need not be.
    init?(words: ArraySlice<UInt64>, text: String?)
}

/// A session as it is recorded.
struct SessionState: StateRecord, Equatable {
    static let kind = StateKind.session
    static let expiryWord = 9

    let id: Session.ID
    let name: String?
    let binding: Session.Binding
    let timeToLive: Int64
    let createdAt: WallTime
    /// The distant future while a stream holds it, or a process.
    var expiresAt: MonotonicInstant
    /// The process that it is bound to, where that is known well enough to find it again.
    var process: BoundProcess.Identity?

    var text: String? { name }

    func words(_ text: StateText) -> [UInt64] {
        let binding = Session.Binding.allCases.firstIndex(of: binding) ?? 0
        return [
            0, id.words.high, id.words.low, UInt64(bitPattern: createdAt.seconds),
            UInt64(createdAt.nanoseconds), UInt64(timeToLive), UInt64(binding),
            UInt64(process?.number ?? 0), text.word, UInt64(bitPattern: expiresAt.nanoseconds),
            process?.startTime ?? 0, 0,
        ]
    }
}

extension SessionState {
    init?(words: ArraySlice<UInt64>, text: String?) {
        let words = Array(words)
        guard let timeToLive = Int64(exactly: words[5]), Session.timesToLive.contains(timeToLive),
            let nanoseconds = Int64(exactly: words[4]), nanoseconds < 1_000_000_000,
            words[6] < UInt64(Session.Binding.allCases.count)
        else { return nil }
        id = Session.ID(high: words[1], low: words[2])
        name = text
        createdAt = WallTime(seconds: Int64(bitPattern: words[3]), nanoseconds: nanoseconds)
        self.timeToLive = timeToLive
        binding = Session.Binding.allCases[Int(words[6])]
        expiresAt = MonotonicInstant(nanoseconds: Int64(bitPattern: words[Self.expiryWord]))
        process = Int32(exactly: words[7]).flatMap { number in
            number > 0 ? BoundProcess.Identity(number: number, startTime: words[10]) : nil
        }
    }
}

/// An attachment as it is recorded.
struct AttachmentState: StateRecord, Equatable {
    static let kind = StateKind.attachment

    let session: Session.ID
    /// The serial number of the segment.
    let segment: UInt64
    let mode: AccessMode
    let onLastDetach: LastDetach
    let attachedAt: WallTime

    var text: String? { nil }

    func words(_ text: StateText) -> [UInt64] {
        let flags: UInt64 =
            (mode == .readWrite ? 1 : 0) | (onLastDetach == .keep ? 2 : 0)
        return [
            0, session.words.high, session.words.low, segment, flags,
            UInt64(bitPattern: attachedAt.seconds), UInt64(attachedAt.nanoseconds), 0,
        ]
    }
}

extension AttachmentState {
    init?(words: ArraySlice<UInt64>, text: String?) {
        let words = Array(words)
        guard words[4] < 4, let nanoseconds = Int64(exactly: words[6]), nanoseconds < 1_000_000_000
        else { return nil }
        session = Session.ID(high: words[1], low: words[2])
        segment = words[3]
        mode = words[4] & 1 != 0 ? .readWrite : .readOnly
        onLastDetach = words[4] & 2 != 0 ? .keep : .destroy
        attachedAt = WallTime(seconds: Int64(bitPattern: words[5]), nanoseconds: nanoseconds)
    }
}

/// A segment that sessions are attached to or that is looked at, as it is recorded.
struct SegmentState: StateRecord {
    static let kind = StateKind.segment
    static let flagsWord = 8
    static let tokenWord = 9
    static let holderWord = 10  // four words
    static let semaphoreWord = 14

    let serial: UInt64
    let identity: SegmentIdentity
    let keyFile: FileIdentity?
    let byteCount: Int
    let wasCreatedHere: Bool
    var name: SegmentName
    var ending = LastDetach.destroy
    var isLockMadeHere = false
    /// Whether no session was attached to it, only looks were taken.
    var isLook = false
    /// The kernel's number for its System V semaphore.
    var semaphore: Int32?
    var holder: LockHolder?

    var text: String? { name.description }

    func words(_ text: StateText) -> [UInt64] {
        let (kind, first, second): (UInt64, UInt64, UInt64) =
            switch identity {
            case .file(let file): (0, file.device, file.inode)
            case .systemV(let identifier, let key):
                (1, UInt64(UInt32(bitPattern: identifier)), UInt64(UInt32(bitPattern: key)))
            }
        let facts = kind | (wasCreatedHere ? 2 : 0) | (keyFile != nil ? 4 : 0)
        return [
            0, serial, first, second, keyFile?.device ?? 0, keyFile?.inode ?? 0, UInt64(byteCount),
            facts, Self.flags(ending, isLockMadeHere, isLook: isLook), holder?.token ?? 0,
            holder?.session.words.high ?? 0, holder?.session.words.low ?? 0,
            UInt64(bitPattern: holder?.acquiredAt.seconds ?? 0),
            UInt64(holder?.acquiredAt.nanoseconds ?? 0), Self.word(semaphore), text.word,
        ]
    }

    static func word(_ semaphore: Int32?) -> UInt64 {
        semaphore.map { 1 << 32 | UInt64(UInt32(bitPattern: $0)) } ?? 0
    }

    static func semaphore(_ word: UInt64) -> Int32? {
        word >> 32 == 1 ? Int32(truncatingIfNeeded: word) : nil
    }

    static func flags(_ ending: LastDetach, _ isLockMadeHere: Bool, isLook: Bool) -> UInt64 {
        (ending == .keep ? 1 : 0) | (isLockMadeHere ? 2 : 0) | (isLook ? 4 : 0)
    }
}

extension SegmentState {
    init?(words: ArraySlice<UInt64>, text: String?) {
        let words = Array(words)
        let facts = words[7]
        guard facts < 8, words[Self.flagsWord] < 8, let byteCount = Int(exactly: words[6]),
            let text, let name = SegmentName(stateText: text)
        else { return nil }
        if facts & 1 == 0 {
            identity = .file(FileIdentity(device: words[2], inode: words[3]))
        } else {
            identity = .systemV(
                identifier: Int32(truncatingIfNeeded: words[2]),
                key: Int32(truncatingIfNeeded: words[3]))
        }
        serial = words[1]
        keyFile = facts & 4 != 0 ? FileIdentity(device: words[4], inode: words[5]) : nil
        self.byteCount = byteCount
        wasCreatedHere = facts & 2 != 0
        self.name = name
        ending = words[Self.flagsWord] & 1 != 0 ? .keep : .destroy
        isLockMadeHere = words[Self.flagsWord] & 2 != 0
        isLook = words[Self.flagsWord] & 4 != 0
        semaphore = Self.semaphore(words[Self.semaphoreWord])
        let token = words[Self.tokenWord]
        if token != 0, let nanoseconds = Int64(exactly: words[13]), nanoseconds < 1_000_000_000 {
            holder = LockHolder(
                session: Session.ID(high: words[10], low: words[11]), token: token,
                acquiredAt: WallTime(
                    seconds: Int64(bitPattern: words[12]), nanoseconds: nanoseconds))
        }
    }
}

/// A creation that has begun and is not answered yet.
struct CreationState: StateRecord, Equatable {
    static let kind = StateKind.creation
    static let fileWord = 3  // two words
    static let semaphoreWord = 5

    let key: NativeKey
    let notes: CreationNotes

    var text: String? { key.description }

    func words(_ text: StateText) -> [UInt64] {
        let facts: UInt64 =
            (notes.hadSegment ? 1 : 0) | (notes.hadKeyFile ? 2 : 0) | (notes.hadLockFile ? 4 : 0)
        return [
            0, facts, text.word, notes.file?.inode ?? 0, notes.file?.device ?? 0,
            SegmentState.word(notes.semaphore), 0, 0,
        ]
    }
}

extension CreationState {
    init?(words: ArraySlice<UInt64>, text: String?) {
        let words = Array(words)
        guard words[1] < 8, let text, case .key(let key)? = SegmentName(stateText: text) else {
            return nil
        }
        self.key = key
        notes = CreationNotes(
            hadSegment: words[1] & 1 != 0, hadKeyFile: words[1] & 2 != 0,
            hadLockFile: words[1] & 4 != 0,
            file: words[3] == 0 ? nil : FileIdentity(device: words[4], inode: words[3]),
            semaphore: SegmentState.semaphore(words[Self.semaphoreWord]))
    }
}

/// A segment that was made here, as far as quotas are concerned: it counts until it is gone, whoever
/// is attached to it.
struct MadeState: StateRecord, Equatable {
    static let kind = StateKind.made

    let key: NativeKey
    let byteCount: Int

    var text: String? { key.description }

    func words(_ text: StateText) -> [UInt64] {
        [0, UInt64(byteCount), text.word, 0, 0, 0, 0, 0]
    }
}

extension MadeState {
    init?(words: ArraySlice<UInt64>, text: String?) {
        let words = Array(words)
        guard let byteCount = Int(exactly: words[1]), byteCount > 0, let text,
            case .key(let key)? = SegmentName(stateText: text)
        else { return nil }
        self.key = key
        self.byteCount = byteCount
    }
}

extension SegmentName {
    /// Reads the text form; a key that could name nothing here is none.
    init?(stateText text: String) {
        if text.hasPrefix("shmid:") {
            guard let identifier = CInt(text.dropFirst(6)) else { return nil }
            self = .identifier(identifier)
            return
        }
        guard let key = NativeKey(text: text), (try? key.validate()) != nil else { return nil }
        guard key.type != .posix || !key.posixName.hasPrefix("sem.") else { return nil }
        self = .key(key)
    }
}
