import MicroHTTP
import SegmentService
import SharedMemory
import Synchronization

/// The octets of a segment as text, written as the client takes it.
final class DataText: BodyProducer {
    /// Where the octets come from.
    enum Source: Sendable {
        case segment(SegmentAccess)
        /// A copy that begins where the window does.
        case copy(OwnedBuffer)
    }

    private struct State {
        var done = 0
        var dumper: HexDumper
        var encoder = Base64.Encoder()
        var pending: [UInt8] = []
        var sent = 0
        var isComplete = false
    }

    private let window: DataWindow
    private let isJSON: Bool
    private let source: Source
    private let state: Mutex<State>

    /// How many octets are turned into text at a time.
    private static let step = 16 * 1024

    /// How many times that is done in a row, where nothing comes of it because it repeats what was
    /// before, until other requests have their turn.
    private static let patience = 16

    init(window: DataWindow, isJSON: Bool, source: Source) {
        self.window = window
        self.isJSON = isJSON
        self.source = source
        var first = State(dumper: HexDumper(offset: UInt64(window.bytes.lowerBound)))
        if isJSON { first.pending = Self.head(of: window) }
        state = Mutex(first)
    }

    private static func head(of window: DataWindow) -> [UInt8] {
        Array(
            """
            {"offset":\(window.bytes.lowerBound),"length":\(window.bytes.count),\
            "size":\(window.byteCount),"base64":"
            """.utf8)
    }

    private static let tail = Array("\"}".utf8)

    /// The length of the text, where it is known before it is written: a dump leaves out what
    /// repeats.
    var byteCount: Int? {
        guard isJSON else { return nil }
        return Self.head(of: window).count + Base64.encodedCount(of: window.bytes.count)
            + Self.tail.count
    }

    func produce(into bytes: inout OutputRawSpan, at offset: Int) -> Production {
        state.withLock { state in
            var turns = 0
            while state.sent == state.pending.count {
                if state.isComplete { return .end }
                guard turns < Self.patience else { return .more }
                turns += 1
                state.pending.removeAll(keepingCapacity: true)
                state.sent = 0
                guard advance(&state) else { return .failed }
            }
            let count = min(bytes.freeCapacity, state.pending.count - state.sent)
            for index in state.sent..<state.sent + count { bytes.append(state.pending[index]) }
            state.sent += count
            return state.isComplete && state.sent == state.pending.count ? .end : .more
        }
    }

    private func advance(_ state: inout State) -> Bool {
        let count = min(Self.step, window.bytes.count - state.done)
        guard let octets = read(count, at: state.done) else { return false }
        state.done += count
        let isLast = state.done == window.bytes.count
        if isJSON {
            state.encoder.append(octets.span, to: &state.pending)
            if isLast {
                state.encoder.finish(&state.pending)
                state.pending += Self.tail
            }
        } else {
            state.dumper.append(octets.span, to: &state.pending)
            if isLast { state.dumper.finish(&state.pending) }
        }
        state.isComplete = isLast
        return true
    }

    private func read(_ count: Int, at offset: Int) -> [UInt8]? {
        switch source {
        case .segment(let access):
            return try? access.segment.read(
                at: window.bytes.lowerBound + offset, byteCount: count)
        case .copy(let buffer):
            return buffer.withBytes { bytes in
                var octets: [UInt8] = []
                octets.reserveCapacity(count)
                for index in offset..<offset + count {
                    octets.append(unsafe bytes.unsafeLoad(fromByteOffset: index, as: UInt8.self))
                }
                return octets
            }
        }
    }
}
