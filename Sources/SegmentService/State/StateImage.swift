import SharedMemory

/// What a state file says.
///
/// Whatever words it is made of, reading ends, and yields only what is whole: a record that is
/// damaged is left out and counted.
package struct StateImage: Sendable {
    struct Head: Sendable {
        let host: [UInt64]
        let mark: UInt32
        let lastAlive: MonotonicInstant
        /// Whether the last server ended in good order.
        let hasEnded: Bool
        let processes: [Int32]
    }

    let head: Head
    private(set) var sessions: [(StateSlot, SessionState)] = []
    private(set) var attachments: [(StateSlot, AttachmentState)] = []
    private(set) var segments: [(StateSlot, SegmentState)] = []
    private(set) var creations: [(StateSlot, CreationState)] = []
    private(set) var made: [(StateSlot, MadeState)] = []
    /// Records that are there and cannot be read, and what they claim to be.
    private(set) var damaged: [(StateSlot, StateKind)] = []
    /// What each chunk holds; `nil` for one that was not in use yet.
    private(set) var chunks: [StateKind?] = []
    /// The pieces of the texts that records link.
    private(set) var texts: Set<StateSlot> = []

    /// Reads the words of a file; `nil` for one whose head is not that of a state file, whole.
    ///
    /// - Parameter words: All of them; those of a chunk that was cut off are ignored.
    package init?(_ words: [UInt64]) {
        guard words.count >= StateLayout.headWordCount, let head = Head(words) else { return nil }
        self.head = head
        let count = (words.count - StateLayout.headWordCount) / StateLayout.chunkWordCount
        for chunk in 0..<min(count, StateLayout.chunkLimit) {
            let mark = words[StateLayout.chunkIndex(chunk)]
            chunks.append(StateKind.allCases.first { StateLayout.chunkMark($0) == mark })
        }
        sessions = read(words)
        segments = read(words)
        attachments = read(words)
        creations = read(words)
        made = read(words)
    }

    /// How far the fencing tokens had come, as words say that are the beginning of a state file, be
    /// it damaged or of another place.
    static func lastToken(_ words: [UInt64]) -> FencingToken {
        typealias Head = StateLayout.Head
        guard words.count > Head.lastToken, words[Head.magic] == StateLayout.magic else { return 0 }
        // More than a JSON number holds exactly is no token of ours.
        return words[Head.lastToken] < 1 << 53 ? words[Head.lastToken] : 0
    }

    private mutating func read<Record: StateRecord>(_ words: [UInt64]) -> [(StateSlot, Record)] {
        let kind = Record.kind
        var records: [(StateSlot, Record)] = []
        for chunk in chunks.indices where chunks[chunk] == kind {
            for place in 0..<kind.slotsPerChunk {
                let slot = StateSlot(chunk: chunk, place: place)
                let start = slot.index(kind)
                guard words[start] != 0 else { continue }
                let record = Array(words[start..<start + kind.wordCount])
                guard kind.commitWord(record) == words[start],
                    let text = text(of: kind, record, words),
                    let read = Record(words: record[...], text: text.value)
                else {
                    damaged.append((slot, kind))
                    continue
                }
                texts.formUnion(text.pieces)
                records.append((slot, read))
            }
        }
        return records
    }

    private struct Text {
        var value: String?
        var pieces: [StateSlot] = []
    }

    /// The text of a record; `nil` when it is damaged.
    private func text(of kind: StateKind, _ record: [UInt64], _ words: [UInt64]) -> Text? {
        guard let word = kind.textWord else { return Text() }
        let link = StateText(word: record[word])
        guard !link.isNone else { return Text() }
        guard link.byteCount > 0, link.byteCount <= StateText.byteLimit else { return nil }
        var bytes: [UInt8] = []
        var pieces: [StateSlot] = []
        var next = link.first
        var checksum: UInt32 = 0
        for _ in 0..<link.pieceCount {
            guard next.chunk < chunks.count, chunks[next.chunk] == .text,
                next.place < StateKind.text.slotsPerChunk, !texts.contains(next)
            else { return nil }
            pieces.append(next)
            let start = next.index(.text)
            checksum = UInt32(truncatingIfNeeded: words[start] >> 32)
            next = StateSlot(number: UInt32(truncatingIfNeeded: words[start]))
            for byte in 0..<min(StateText.bytesPerPiece, link.byteCount - bytes.count) {
                let shift = UInt64(byte % 8 * 8)
                bytes.append(UInt8(truncatingIfNeeded: words[start + 1 + byte / 8] >> shift))
            }
        }
        guard StateText.checksum(of: bytes) == checksum,
            let value = String(validating: bytes, as: UTF8.self)
        else { return nil }
        return Text(value: value, pieces: pieces)
    }
}

extension StateImage.Head {
    fileprivate init?(_ words: [UInt64]) {
        typealias Head = StateLayout.Head
        guard words[Head.magic] == StateLayout.magic,
            words[Head.checksum] == Self.checksum(words[Head.host...Head.mark])
        else { return nil }
        host = Array(words[Head.host..<Head.mark])
        mark = UInt32(truncatingIfNeeded: words[Head.mark])
        lastAlive = MonotonicInstant(nanoseconds: Int64(clamping: words[Head.lastAlive]))
        hasEnded = words[Head.ending] != 0
        processes = [Head.formerProcess, Head.process].map { Int32(clamping: words[$0]) }
            .filter { $0 > 0 }
    }

    static func checksum(_ words: some Sequence<UInt64>) -> UInt64 {
        UInt64(StateLayout.checksum(words))
    }
}
