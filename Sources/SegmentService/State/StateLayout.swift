/// How the state file is laid out.
///
/// The file is private to one server at a time and made of 64-bit words. A head of 4 KiB tells whose
/// it is; then come chunks of 16 KiB, each with records of one ``StateKind``. A record is a few
/// words: the first is 0 while the record is free, and otherwise holds its kind and a checksum of
/// the words that never change while it lives. It is written last, and cleared first, so `kill -9`
/// between any two stores leaves a record that is there whole or not there. Words that do change
/// (when a session expires, who holds a lock) are changed in one store each.
///
/// The page cache keeps what was stored when the process is killed; nothing is ever flushed, for no
/// segment survives the machine either.
///
/// Who owns what: a slot belongs to the session, attachment or segment whose record is in it, from
/// ``StateStore/take(_:)`` to ``StateStore/release(_:_:)``; only its owner writes to it, under the
/// registry's lock or before the registry knows of it. Texts belong to the record that links them,
/// and a text that no record links is free.
enum StateLayout {
    static let magic: UInt64 = 0x5345_474d_5354_0001  // the last digits are the version

    /// Words of the head, and of one chunk.
    static let headWordCount = 512
    static let chunkWordCount = 2048
    /// Words before the first record of a chunk.
    static let chunkHeadWordCount = 8
    /// How large the file may become, in bytes: address space is reserved for that much.
    static let byteLimit = 1 << 30
    static let chunkLimit = (byteLimit / 8 - headWordCount) / chunkWordCount

    /// Words of the head, of which the first eight never change.
    enum Head {
        static let magic = 0
        static let host = 1  // four words
        static let mark = 5
        static let checksum = 6
        static let lastAlive = 8
        static let lastToken = 9
        static let formerProcess = 10
        static let process = 11
        /// Not 0 once a server ended in good order.
        static let ending = 12
    }

    static func chunkIndex(_ chunk: Int) -> Int { headWordCount + chunk * chunkWordCount }

    static func chunkMark(_ kind: StateKind) -> UInt64 { 0x4348_554e_4b00_0000 | kind.rawValue }

    /// A checksum that notices what accidents do to a few words.
    static func checksum(_ words: some Sequence<UInt64>) -> UInt32 {
        var sum: UInt64 = 0x9e37_79b9_7f4a_7c15
        for word in words {
            sum = (sum ^ word) &* 0xff51_afd7_ed55_8ccd
            sum ^= sum >> 32
        }
        return UInt32(truncatingIfNeeded: sum)
    }
}

/// The kinds of record.
enum StateKind: UInt64, CaseIterable {
    case session = 1
    case attachment
    case segment
    case creation
    case text
    case made

    /// How many words a record has.
    var wordCount: Int {
        switch self {
        case .session: 12
        case .segment: 16
        case .attachment, .creation, .text, .made: 8
        }
    }

    /// The words that the checksum covers: they do not change while the record lives.
    var fixedWords: Range<Int> {
        switch self {
        case .session: 1..<9
        case .attachment: 1..<7
        case .segment: 1..<8
        case .creation, .made: 1..<3
        case .text: 1..<8
        }
    }

    /// The word with the link to the record's text.
    var textWord: Int? {
        switch self {
        case .session: 8
        case .segment: 15
        case .creation, .made: 2
        case .attachment, .text: nil
        }
    }

    var slotsPerChunk: Int {
        (StateLayout.chunkWordCount - StateLayout.chunkHeadWordCount) / wordCount
    }

    /// The first word of a committed record.
    func commitWord(_ words: [UInt64]) -> UInt64 {
        0x5e << 56 | rawValue << 48 | UInt64(StateLayout.checksum(words[fixedWords]))
    }
}

/// The place of one record.
struct StateSlot: Hashable, Sendable {
    let number: UInt32

    /// The place of what is not recorded.
    static let none = StateSlot(number: .max)

    init(number: UInt32) { self.number = number }

    init(chunk: Int, place: Int) { number = UInt32(chunk << 8 | place) }

    var chunk: Int { Int(number >> 8) }
    var place: Int { Int(number & 255) }

    /// The index of its first word, as one of a kind.
    func index(_ kind: StateKind) -> Int {
        StateLayout.chunkIndex(chunk) + StateLayout.chunkHeadWordCount + place * kind.wordCount
    }
}

/// A link to a text: the slot of its first piece and its length in bytes.
///
/// A piece has a word with
/// the slot of the next and the checksum of the whole text, and seven words of bytes.
struct StateText {
    let word: UInt64

    static let byteLimit = 1 << 15
    static let bytesPerPiece = 56

    init(word: UInt64) { self.word = word }

    init(first: StateSlot, byteCount: Int) {
        word = 1 << 63 | UInt64(byteCount) << 32 | UInt64(first.number)
    }

    /// No text.
    static let none = StateText(word: 0)

    var isNone: Bool { word == 0 }
    var first: StateSlot { StateSlot(number: UInt32(truncatingIfNeeded: word)) }
    var byteCount: Int { Int(word >> 32 & 0xffff) }
    var pieceCount: Int { (byteCount + Self.bytesPerPiece - 1) / Self.bytesPerPiece }

    /// Seven words with up to 56 bytes.
    static func words(of bytes: ArraySlice<UInt8>) -> [UInt64] {
        var words = [UInt64](repeating: 0, count: 7)
        for (index, byte) in bytes.enumerated() {
            words[index / 8] |= UInt64(byte) << UInt64(index % 8 * 8)
        }
        return words
    }

    static func checksum(of bytes: [UInt8]) -> UInt32 {
        StateLayout.checksum(bytes.lazy.map { UInt64($0) })
    }
}
