import MicroHTTP
import SegmentService
import SharedMemory

extension SegmentAPI {
    func readData(_ call: Call) throws(Problem) -> Plan {
        let request = try ReadRequest(call)
        // The lock keeps others out, so to take it is more than to read.
        if request.wish.isWanted { try policy.require(.use, of: call.caller) }
        let name = try call.knownSegment()
        if call.session == nil, !request.wish.isWanted,
            let answer = peek(call, request, at: name)
        {
            return .respond(answer)
        }
        let access = try attempt { () throws(ServiceError) in
            try service.access(name, session: call.session, for: .readOnly)
        }
        let window = try request.window(of: access.segment.byteCount)
        guard request.wish.isWanted else {
            let answer = try call.answer(reading: window, as: request.format, from: access)
            count(window, read: call)
            return .respond(answer)
        }
        return call.later { [access] completion in
            service.perform(on: access, request.wish, client: call.exchange) { result in
                completion(result.map { access })
            }
        } answer: { access in
            // Under the lock: a copy, for a slow client must not keep the lock.
            do throws(Problem) {
                let answer = try call.answer(copying: window, as: request.format, from: access)
                self.count(window, read: call)
                return answer
            } catch { return call.response(error) }
        }
    }

    /// Answers with a few bytes of a segment that is attached here anyway.
    ///
    /// - Returns: The answer; nil where it takes more, be it only to tell what is wrong.
    private func peek(_ call: Call, _ request: ReadRequest, at name: KnownName) -> Response? {
        var answer: Response?
        _ = service.peek(name, in: call.exchange.batch?.number) { peek in
            guard let window = try? request.window(of: peek.byteCount) else { return false }
            answer = try? call.answer(peekingAt: window, as: request.format, by: peek)
            guard answer != nil else { return false }
            count(window, read: call)
            return true
        }
        return answer
    }

    private func count(_ window: DataWindow, read call: Call) {
        if !call.isHead { requests.bytesRead.add(window.bytes.count) }
    }
}

/// How the octets of a segment are written down.
enum DataFormat: String, CaseIterable {
    case raw, hex, json

    static let offered: [(MediaType, DataFormat)] = [
        (.octetStream, .raw), (.plainText, .hex), (.json, .json),
    ]
    static let offeredTypes = offered.map(\.0)

    var contentType: String {
        switch self {
        case .raw: "application/octet-stream"
        case .hex: "text/plain; charset=utf-8"
        case .json: "application/json"
        }
    }
}

/// The octets that an answer shows.
struct DataWindow {
    let bytes: Range<Int>
    /// Whether they answer a Range header.
    let isPartial: Bool
    /// The size of the whole segment.
    let byteCount: Int
}

/// What a request to read says.
private struct ReadRequest {
    let format: DataFormat
    let wish: LockWish
    private let offset: Int?
    private let length: Int?
    private let range: ByteRange

    init(_ call: Call) throws(Problem) {
        var offset: Int?
        var length: Int?
        var named: DataFormat?
        var locked: Bool?
        var wait: Int64?
        if call.exchange.hasQuery {
            try call.query { (query) throws(QueryError) in
                offset = try query.int("offset")
                length = try query.int("length")
                named = try query.choice("format", as: DataFormat.self)
                locked = try query.bool("lock")
                wait = try query.wait()
            }
        }
        self.offset = offset
        self.length = length
        if let named {
            format = named
        } else if call.takesAnything {
            format = .raw
        } else {
            let best = try call.negotiate(DataFormat.offeredTypes)
            format = DataFormat.offered.first { $0.0 == best }?.1 ?? .raw
        }
        wish = LockWish(
            isWanted: locked ?? false, isRequired: true, wait: wait ?? 0, token: nil)
        // If-Range names a validator, and there is none that could match: the whole is the answer.
        let isConditional = try call.withHeader(.ifRange) { (field) throws(Problem) in
            field != nil
        }
        let isIgnored = call.isHead || isConditional || format != .raw
        let (range, hasRange) =
            isIgnored
            ? (.none, false)
            : try call.withHeader(.range) { (field) throws(Problem) in
                (ByteRange(field), field != nil)
            }
        self.range = range
        if hasRange, offset != nil || length != nil {
            throw .invalidRequest("Give either Range or offset and length.", parameter: "Range")
        }
    }

    func window(of byteCount: Int) throws(Problem) -> DataWindow {
        if offset != nil || length != nil {
            let start = offset ?? 0
            guard start <= byteCount, (length ?? 0) <= byteCount - start else {
                throw .outOfRange(
                    "The segment has \(byteCount) bytes; the window ends behind it.",
                    byteCount: byteCount)
            }
            let end = length.map { start + $0 } ?? byteCount
            return DataWindow(bytes: start..<end, isPartial: false, byteCount: byteCount)
        }
        switch range.resolve(byteCount: byteCount) {
        case .whole:
            return DataWindow(bytes: 0..<byteCount, isPartial: false, byteCount: byteCount)
        case .part(let bytes):
            return DataWindow(bytes: bytes, isPartial: true, byteCount: byteCount)
        case .unsatisfiable:
            throw .outOfRange(
                "The segment has \(byteCount) bytes; the range begins behind them.",
                byteCount: byteCount)
        }
    }
}

extension Call {
    /// Up to so many bytes are copied; more are sent from where they lie.
    ///
    /// A copy is of one moment, and that the segment shrank can still be said.
    private static let copyLimit = 64 * 1024

    /// An answer with bytes as they are when they are sent.
    fileprivate func answer(
        reading window: DataWindow, as format: DataFormat, from access: SegmentAccess
    ) throws(Problem) -> Response {
        guard window.bytes.count > Self.copyLimit else {
            return try answer(copying: window, as: format, from: access)
        }
        guard !(try truncated(access, before: window.bytes.upperBound)) else {
            throw Problem(
                ServiceError(.segmentTruncated, "Another process truncated \(access.name)."))
        }
        switch format {
        case .raw:
            let first = unsafe access.segment.baseAddress + window.bytes.lowerBound
            let bytes = unsafe UnsafeRawBufferPointer(start: first, count: window.bytes.count)
            return data(window, format, unsafe .memory(bytes, owner: access))
        case .hex, .json:
            return text(window, format, source: .segment(access))
        }
    }

    /// An answer with bytes as they are now.
    fileprivate func answer(
        copying window: DataWindow, as format: DataFormat, from access: SegmentAccess
    ) throws(Problem) -> Response {
        let buffer = try unsafe copy(window, format) { (target) throws(SegmentError) in
            try unsafe access.segment.read(at: window.bytes.lowerBound, into: target)
        }
        return answer(window, format, with: buffer)
    }

    /// An answer with bytes as they are now; nil if the name of the segment does not lead there, or if it
    /// would be too long to be copied.
    fileprivate func answer(
        peekingAt window: DataWindow, as format: DataFormat, by peek: borrowing Peek
    ) throws(Problem) -> Response? {
        guard window.bytes.count <= Self.copyLimit else { return nil }
        var isNamed = true
        let buffer = try unsafe copy(window, format) { (target) throws(SegmentError) in
            isNamed = try unsafe peek.read(at: window.bytes.lowerBound, into: target)
        }
        return isNamed ? answer(window, format, with: buffer) : nil
    }

    private func copy(
        _ window: DataWindow, _ format: DataFormat,
        by read: (UnsafeMutableRawBufferPointer) throws(SegmentError) -> Void
    ) throws(Problem) -> OwnedBuffer {
        let buffer: OwnedBuffer?
        do throws(SegmentError) {
            // Octets are sent as they are.
            let template: ResponseTemplate? =
                format != .raw ? nil : window.isPartial ? .part : .octets
            buffer = try exchange.buffer(of: window.bytes.count, toBeSentWith: template) {
                (bytes) throws(SegmentError) in
                try unsafe bytes.append(window.bytes.count, by: read)
            }
        } catch { throw Problem(ServiceError(error)) }
        guard let buffer else {
            throw Problem(
                ServiceError(.outOfResources, "There is no memory for \(window.bytes.count) bytes.")
            )
        }
        return buffer
    }

    private func answer(_ window: DataWindow, _ format: DataFormat, with buffer: OwnedBuffer)
        -> Response
    {
        switch format {
        case .raw: data(window, format, .buffer(buffer))
        case .hex, .json: text(window, format, source: .copy(buffer))
        }
    }

    private func truncated(_ access: SegmentAccess, before end: Int) throws(Problem) -> Bool {
        do throws(SegmentError) { return try access.segment.currentByteCount() < end } catch {
            throw Problem(ServiceError(error))
        }
    }

    private func data(
        _ window: DataWindow, _ format: DataFormat, _ content: consuming Response.Content
    ) -> Response {
        // A range is asked of the bytes as they are.
        if window.isPartial { return response(part: window, content: content) }
        guard format != .raw else { return response(200, .octets, content: content) }
        return response(200, type: format.contentType, content: content)
    }

    private func text(_ window: DataWindow, _ format: DataFormat, source: DataText.Source)
        -> Response
    {
        let text = DataText(window: window, isJSON: format == .json, source: source)
        return data(window, format, .producer(byteCount: text.byteCount, text))
    }
}

extension OutputRawSpan {
    /// Appends bytes that somebody else writes, all or none.
    mutating func append<Failure: Error>(
        _ count: Int, by write: (UnsafeMutableRawBufferPointer) throws(Failure) -> Void
    ) throws(Failure) {
        try unsafe withUnsafeMutableBytes { (buffer, initializedCount) throws(Failure) in
            let free = unsafe UnsafeMutableRawBufferPointer(
                rebasing: buffer[initializedCount..<initializedCount + count])
            try unsafe write(free)
            initializedCount += count
        }
    }
}
