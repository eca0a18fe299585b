internal import CMicroHTTPD
internal import Glibc

/// What libmicrohttpd asks for the next bytes of a body that is not in memory.
///
/// Used on the loop thread only.
@safe
final class ContentSource {
    enum Kind {
        case producer(any BodyProducer, byteCount: Int?)
        case stream(EventStream)
        /// Lent memory on its way through TLS, which would touch it.
        case memory(LentMemory)
    }

    private let exchange: Exchange
    private let kind: Kind
    private var hasEnded = false
    /// When the client could begin to take the answer, later by the time it was made to wait since.
    private var startedAt = monotonicNanoseconds()
    /// When the producer was asked that had nothing yet.
    private var pausedAt: UInt64?

    init(_ exchange: Exchange, _ kind: Kind) {
        self.exchange = exchange
        self.kind = kind
        exchange.isCounting = true
        exchange.bytesSent = 0
    }

    /// Makes a response that holds this source until it is over.
    func makeNative(byteCount: Int?) -> OpaquePointer? {
        let hold = unsafe Unmanaged.passRetained(self)
        let native = unsafe MHD_create_response_from_callback(
            byteCount.map { UInt64($0) } ?? cmicrohttpd_size_unknown,
            max(1, min(byteCount ?? blockSize, blockSize)),
            { source, position, buffer, capacity in
                guard let source = unsafe source, let buffer = unsafe buffer else {
                    return cmicrohttpd_end_with_error
                }
                return unsafe Unmanaged<ContentSource>.fromOpaque(source).takeUnretainedValue()
                    .read(
                        into: UnsafeMutableRawBufferPointer(start: buffer, count: capacity),
                        at: Int(position))
            },
            hold.toOpaque(),
            { source in
                if let source = unsafe source {
                    unsafe Unmanaged<ContentSource>.fromOpaque(source).release()
                }
            })
        if unsafe native == nil { unsafe hold.release() }
        return unsafe native
    }

    private func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) -> Int {
        guard exchange.endedBy == nil else { return cmicrohttpd_end_with_error }
        exchange.bytesSent = offset
        switch kind {
        case .producer(let producer, let byteCount):
            return unsafe read(producer, byteCount, into: buffer, at: offset)
        case .stream(let stream):
            return unsafe read(stream, into: buffer, at: offset)
        case .memory(let memory):
            return unsafe read(memory, into: buffer, at: offset)
        }
    }

    private func read(
        _ producer: any BodyProducer, _ byteCount: Int?,
        into buffer: UnsafeMutableRawBufferPointer, at offset: Int
    ) -> Int {
        if hasEnded {
            return byteCount == nil ? cmicrohttpd_end_of_stream : fail()
        }
        let now = byteCount == nil ? monotonicNanoseconds() : 0
        if let pausedAt {
            startedAt &+= now &- pausedAt
            self.pausedAt = nil
        }
        var bytes = unsafe OutputRawSpan(buffer: buffer, initializedCount: 0)
        let production = producer.produce(into: &bytes, at: offset)
        let count = unsafe bytes.finalize(for: buffer)
        switch production {
        case .more where count > 0:
            break
        case .more where byteCount == nil:
            pausedAt = now
            return exchange.yield() ? 0 : cmicrohttpd_end_with_error
        case .end where count > 0:
            hasEnded = true
        case .end where byteCount == nil:
            return cmicrohttpd_end_of_stream
        default:
            return fail()
        }
        exchange.bytesSent = offset + count
        if byteCount == nil {
            let link = exchange.link
            link.deadline = startedAt &+ link.loop.answerNanoseconds(offset + count)
        }
        return count
    }

    private func read(
        _ stream: EventStream, into buffer: UnsafeMutableRawBufferPointer, at offset: Int
    ) -> Int {
        switch unsafe stream.pull(into: buffer) {
        case .bytes(let count):
            exchange.bytesSent = offset + count
            return count
        case .idle:
            return exchange.suspend() ? 0 : cmicrohttpd_end_with_error
        case .end:
            return cmicrohttpd_end_of_stream
        case .broken:
            return fail()
        }
    }

    /// Copies by the kernel, for another process may take the pages away at any moment.
    private func read(
        _ memory: LentMemory, into buffer: UnsafeMutableRawBufferPointer, at offset: Int
    ) -> Int {
        guard let source = unsafe memory.bytes.baseAddress, let target = buffer.baseAddress else {
            return fail()
        }
        let wanted = min(buffer.count, memory.byteCount - offset)
        let count = unsafe copyByKernel(from: source + offset, to: target, byteCount: wanted)
        guard count > 0 else { return fail() }
        exchange.bytesSent = offset + count
        return count
    }

    private func fail() -> Int {
        exchange.endedBy = .broken
        return cmicrohttpd_end_with_error
    }
}

/// How much room a producer of a body without chunks is given at a time.
private let blockSize = 64 * 1024

/// Copies memory of this process without touching it.
///
/// - Returns: How many bytes were copied, up to the first page that is not there any more.
private func copyByKernel(
    from source: UnsafeRawPointer, to target: UnsafeMutableRawPointer, byteCount: Int
) -> Int {
    let count = unsafe cmicrohttpd_copy(source, target, byteCount)
    guard count < 0, errno == EPERM || errno == ENOSYS else { return max(count, 0) }
    // A filter on system calls forbids that one. A pipe holds as many bytes as are asked for.
    var ends: (CInt, CInt) = (-1, -1)
    let isOpen = unsafe withUnsafeMutableBytes(of: &ends) { ends in
        unsafe pipe(ends.assumingMemoryBound(to: CInt.self).baseAddress)
    }
    guard isOpen == 0 else { return 0 }
    defer { _ = (close(ends.0), close(ends.1)) }
    _ = fcntl(ends.1, F_SETFL, O_NONBLOCK)
    let written = unsafe write(ends.1, source, byteCount)
    guard written > 0 else { return 0 }
    return unsafe max(read(ends.0, target, written), 0)
}
