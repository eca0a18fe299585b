internal import Synchronization

/// A body that is pushed, piece by piece, from any thread.
///
/// Give it as the content of a ``Response``; what is sent before that waits. While there is nothing
/// to send, the connection costs no thread, and a client that leaves is noticed at once.
/// A client that does not read is not waited for: once too many bytes wait, its connection is
/// closed.
public final class EventStream: Sendable {
    struct State {
        var backlog: [UInt8] = []
        var sent = 0
        var limit: Int
        var isFinished = false
        var isClosed = false
        var isOverrun = false
        var isIdle = false
        var exchange: Exchange?
        var onClose: [@Sendable () -> Void] = []

        var pending: Int { backlog.count - sent }
    }

    private let state: Mutex<State>
    private let hasOwnLimit: Bool

    /// Creates a stream.
    ///
    /// - Parameter backlogLimit: How many bytes may wait for the client; nil takes
    ///   ``Server/Configuration/streamBacklog``.
    public init(backlogLimit: Int? = nil) {
        hasOwnLimit = backlogLimit != nil
        state = Mutex(State(limit: backlogLimit ?? 256 * 1024))
    }

    /// Sends bytes, or keeps them until the client can take them.
    ///
    /// - Returns: false once the stream is over; the bytes are dropped.
    @discardableResult
    public func send(_ bytes: [UInt8]) -> Bool {
        let (accepted, sleeper, overrun) = state.withLock { state in
            guard !state.isClosed, !state.isFinished, !state.isOverrun else {
                return (false, nil as Exchange?, nil as Exchange?)
            }
            guard state.pending + bytes.count <= state.limit else {
                state.isOverrun = true
                state.backlog = []
                state.sent = 0
                return (false, nil, state.exchange)
            }
            state.backlog.append(contentsOf: bytes)
            defer { state.isIdle = false }
            return (true, state.isIdle ? state.exchange : nil, nil)
        }
        sleeper?.wake()
        overrun?.abort(.broken)
        return accepted
    }

    /// Ends the stream once everything sent has gone out.
    public func finish() {
        let sleeper = state.withLock { state in
            state.isFinished = true
            defer { state.isIdle = false }
            return state.isIdle ? state.exchange : nil
        }
        sleeper?.wake()
    }

    /// Whether the stream is over: finished and sent, or its client gone.
    public var isClosed: Bool { state.withLock { $0.isClosed } }

    /// Has an action called once when the stream is over, for whatever reason.
    ///
    /// The action runs on a loop thread, or at once when the stream is over already.
    public func onClose(_ action: @escaping @Sendable () -> Void) {
        let isClosed = state.withLock { state in
            if !state.isClosed { state.onClose.append(action) }
            return state.isClosed
        }
        if isClosed { action() }
    }

    // MARK: On the loop thread

    /// Ties the stream to the exchange that sends it.
    func attach(to exchange: Exchange, backlogLimit: Int) {
        let isOverrun = state.withLock { state in
            if !hasOwnLimit { state.limit = backlogLimit }
            state.exchange = exchange
            return state.isOverrun
        }
        if isOverrun { exchange.abort(.broken) }
    }

    enum Pull {
        case bytes(Int)
        case idle
        case end
        case broken
    }

    /// Moves waiting bytes to `buffer`, or notes that there are none.
    func pull(into buffer: UnsafeMutableRawBufferPointer) -> Pull {
        state.withLock { state in
            guard !state.isOverrun, !state.isClosed else { return .broken }
            guard state.pending > 0 else {
                if state.isFinished { return .end }
                state.isIdle = true
                return .idle
            }
            let count = min(state.pending, buffer.count)
            unsafe state.backlog.withUnsafeBytes { bytes in
                unsafe buffer.copyMemory(
                    from: UnsafeRawBufferPointer(
                        rebasing: bytes[state.sent..<state.sent + count]
                    )
                )
            }
            state.sent += count
            if state.pending == 0 {
                state.backlog.removeAll(keepingCapacity: state.backlog.count <= 64 * 1024)
                state.sent = 0
            } else if state.sent > state.pending {
                state.backlog.removeFirst(state.sent)
                state.sent = 0
            }
            return .bytes(count)
        }
    }

    /// Whether there is nothing to be sent for now.
    var isIdle: Bool { state.withLock { $0.isIdle } }

    /// Ends the stream: nothing more can be sent.
    func close() {
        let actions = state.withLock { state in
            guard !state.isClosed else { return [@Sendable () -> Void]() }
            state.isClosed = true
            state.exchange = nil
            state.backlog = []
            state.sent = 0
            defer { state.onClose = [] }
            return state.onClose
        }
        for action in actions { action() }
    }
}
