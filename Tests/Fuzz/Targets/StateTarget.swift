@testable import SegmentService
import SharedMemory

/// A state file: a head and two chunks, of which the input makes records with right checksums.
///
/// Its first byte says of what kind they are, and whether the head is the input's as well.
enum StateTarget {
    @Sendable static func check(_ input: [UInt8]) {
        guard let choice = input.first else { return }
        let kind = StateKind.allCases[Int(choice) % StateKind.allCases.count]
        var words = [UInt64](
            repeating: 0,
            count: StateLayout.headWordCount + 2 * StateLayout.chunkWordCount)
        words[StateLayout.Head.magic] = StateLayout.magic
        let head = words[StateLayout.Head.host...StateLayout.Head.mark]
        words[StateLayout.Head.checksum] = StateImage.Head.checksum(head)
        var rest = input.dropFirst()
        if choice & 0x80 != 0 { fill(&words, 0..<16, from: &rest) }

        words[StateLayout.chunkIndex(0)] = StateLayout.chunkMark(.text)
        words[StateLayout.chunkIndex(1)] = StateLayout.chunkMark(kind)
        let text = addText(&words, from: &rest, isChained: choice & 0x40 != 0)
        for place in 0..<kind.slotsPerChunk where !rest.isEmpty {
            let start = StateSlot(chunk: 1, place: place).index(kind)
            fill(&words, start + 1..<start + kind.wordCount, from: &rest)
            // One text belongs to one record; the others link what the input says.
            if place == 0, let textWord = kind.textWord { words[start + textWord] = text.word }
            words[start] = kind.commitWord(Array(words[start..<start + kind.wordCount]))
        }
        checkImage(words)
    }

    private static func checkImage(_ words: [UInt64]) {
        guard let image = StateImage(words) else { return }
        image.sessions.forEach { checkRecord($1) }
        image.attachments.forEach { checkRecord($1) }
        image.segments.forEach { checkRecord($1) }
        image.creations.forEach { checkRecord($1) }
        image.made.forEach { checkRecord($1) }
        for (_, segment) in image.segments {
            guard case .key(let key) = segment.name else { continue }
            require((try? key.validate()) != nil, "a key that can name a segment")
        }
        for (_, session) in image.sessions {
            require(Session.timesToLive.contains(session.timeToLive), "a time that may be")
        }
        require(image.texts.allSatisfy { $0.chunk == 0 }, "texts lie where texts are")
    }

    /// What was read is written as the same, but for what has no meaning.
    private static func checkRecord<Record: StateRecord>(_ record: Record) {
        let text = StateText(first: StateSlot(number: 0), byteCount: record.text?.utf8.count ?? 0)
        let words = record.words(text)
        require(words.count == Record.kind.wordCount, "a record of its kind's size")
        guard let again = Record(words: words[...], text: record.text) else {
            return require(false, "what was read can be written and read")
        }
        require(again.words(text) == words, "what was read is written the same")
    }

    private static func fill(
        _ words: inout [UInt64], _ range: Range<Int>, from bytes: inout ArraySlice<UInt8>
    ) {
        for index in range {
            for shift in stride(from: 0, to: 64, by: 8) {
                words[index] |= UInt64(bytes.popFirst() ?? 0) << UInt64(shift)
            }
        }
    }

    /// Two pieces of text with the right checksum; chained, or each leading to itself.
    private static func addText(
        _ words: inout [UInt64], from bytes: inout ArraySlice<UInt8>, isChained: Bool
    ) -> StateText {
        let count = Int(bytes.popFirst() ?? 0) % (2 * StateText.bytesPerPiece) + 1
        let text = Array(bytes.prefix(count))
        bytes = bytes.dropFirst(count)
        let checksum = UInt64(StateText.checksum(of: text)) << 32
        for piece in 0..<2 {
            let start = StateSlot(chunk: 0, place: piece).index(.text)
            let part = text.dropFirst(piece * StateText.bytesPerPiece)
                .prefix(StateText.bytesPerPiece)
            words[start] = checksum | (isChained ? 1 : UInt64(piece))
            words.replaceSubrange(start + 1..<start + 8, with: StateText.words(of: part))
        }
        return StateText(first: StateSlot(number: 0), byteCount: text.count)
    }
}
