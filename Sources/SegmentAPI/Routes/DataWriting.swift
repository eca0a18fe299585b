import MicroHTTP
import SegmentService
import SharedMemory

extension SegmentAPI {
    func replaceData(_ call: Call) throws(Problem) -> Plan {
        let wish = try call.query { (query) throws(QueryError) in try call.lockWish(&query) }
        let field = try call.header(.contentRange)
        return try write(call, wish) { (byteCount) throws(Problem) in
            guard let field else { return WriteTarget(offset: 0, exactly: byteCount) }
            let part: ContentRange
            do throws(ContentRange.Flaw) { part = try ContentRange(field) } catch {
                throw .invalidRequest(
                    "Content-Range must be bytes FIRST-LAST/* or bytes FIRST-LAST/SIZE.",
                    parameter: "Content-Range")
            }
            if let size = part.completeByteCount, size != byteCount {
                throw .sizeMismatch("The segment has \(byteCount) bytes, not \(size).")
            }
            guard part.bytes.upperBound <= byteCount else {
                throw .outOfRange(
                    "The segment has \(byteCount) bytes; the range ends behind them.",
                    byteCount: byteCount)
            }
            return WriteTarget(offset: part.bytes.lowerBound, exactly: part.bytes.count)
        }
    }

    func patchData(_ call: Call) throws(Problem) -> Plan {
        let (offset, wish) = try call.offsetAndLockWish()
        try call.withHeader(.contentRange) { (field) throws(Problem) in
            guard field == nil else {
                throw .invalidRequest(
                    "PATCH takes offset; Content-Range goes with PUT.", parameter: "Content-Range")
            }
        }
        return try write(call, wish) { (byteCount) throws(Problem) in
            guard offset <= byteCount else {
                throw .outOfRange(
                    "The segment has \(byteCount) bytes; the offset lies behind them.",
                    byteCount: byteCount)
            }
            return WriteTarget(offset: offset, atMost: byteCount - offset)
        }
    }

    /// Takes the whole body in before the segment is touched, then writes it.
    private func write(
        _ call: Call, _ lockWish: LockWish,
        to target: (_ byteCount: Int) throws(Problem) -> WriteTarget
    ) throws(Problem) -> Plan {
        try call.withHeader(.contentType) { (field) throws(Problem) in
            // All those that are refused begin with an m, and hardly any other.
            guard let field, field.first?.lowercased == UInt8(ascii: "m"),
                let type = MediaType(field.text), type.isMultipartOrMessage
            else { return }
            throw .unsupportedMediaType(
                "The body is taken as octets; \(type.type)/\(type.subtype) would have to be taken apart."
            )
        }
        var wish = lockWish
        wish.token = try call.fencingToken()
        let name = try call.knownSegment()
        let access = try attempt { () throws(ServiceError) in
            try service.access(name, session: call.session, for: .readWrite)
        }
        let byteCount = access.segment.byteCount
        let place = try target(byteCount)
        if let length = call.exchange.isChunked ? nil : call.exchange.contentLength ?? 0 {
            try place.check(length, of: byteCount)
        }
        // A body in chunks may turn out to be larger than any may be.
        let limit = min(place.limit, facts.bodyByteLimit)
        let settled = wish
        return .collect(
            limit: limit,
            overflow: call.response(
                limit < place.limit
                    ? .contentTooLarge(limit: limit) : place.mismatch(nil, of: byteCount))
        ) { body in
            do throws(Problem) { try place.check(body.byteCount, of: byteCount) } catch {
                return .respond(call.response(error))
            }
            if !settled.isWanted, settled.token == nil {
                switch self.store(body, at: place.offset, in: access) {
                case .success: return .respond(call.written(body, to: access))
                case .failure(let error): return .respond(call.response(Problem(error)))
                }
            }
            return call.later { completion in
                self.service.perform(on: access, settled, client: call.exchange) { result in
                    completion(result.flatMap { self.store(body, at: place.offset, in: access) })
                }
            } answer: { _ in
                call.written(body, to: access)
            }
        }
    }

    private func store(_ body: Body, at offset: Int, in access: SegmentAccess)
        -> Result<Void, ServiceError>
    {
        do throws(SegmentError) {
            try body.withBytes { (span) throws(SegmentError) in
                try unsafe span.withUnsafeBytes { (bytes) throws(SegmentError) in
                    try unsafe access.segment.write(bytes, at: offset)
                }
            }
            requests.bytesWritten.add(body.byteCount)
            return .success(())
        } catch { return .failure(ServiceError(error)) }
    }
}

/// Where a body goes, and how long it may be.
private struct WriteTarget: Sendable {
    let offset: Int
    let limit: Int
    let isExact: Bool

    init(offset: Int, exactly byteCount: Int) {
        self.offset = offset
        limit = byteCount
        isExact = true
    }

    init(offset: Int, atMost byteCount: Int) {
        self.offset = offset
        limit = byteCount
        isExact = false
    }

    func check(_ length: Int, of byteCount: Int) throws(Problem) {
        guard length == limit || (!isExact && length < limit) else {
            throw mismatch(length, of: byteCount)
        }
    }

    /// What is wrong with a body of another length, or of one that is too long to tell.
    func mismatch(_ length: Int?, of byteCount: Int) -> Problem {
        let given = length.map { "\($0) bytes" } ?? "more"
        if isExact {
            return .sizeMismatch("The body must have exactly \(limit) bytes, not \(given).")
        }
        return .outOfRange(
            "From offset \(offset) there is room for \(limit) bytes, and the body has \(given).",
            byteCount: byteCount)
    }
}

extension Call {
    fileprivate func written(_ body: Body, to access: SegmentAccess) -> Response {
        audit(writing: body.byteCount, to: access)
        return response(204)
    }

    /// Where a patch begins, and how it stands towards the lock.
    fileprivate func offsetAndLockWish() throws(Problem) -> (offset: Int, wish: LockWish) {
        // Most queries are an offset and nothing else, for which no reader is needed.
        let alone = exchange.withQuery { query in query?.number(behind: "offset=") }
        if let alone { return (alone, lockWish(nil, wait: nil)) }
        return try query { (query) throws(QueryError) in
            (try query.int("offset") ?? 0, try lockWish(&query))
        }
    }

    fileprivate func lockWish(_ query: inout QueryReader) throws(QueryError) -> LockWish {
        lockWish(try query.bool("lock"), wait: try query.wait())
    }

    /// Without a session a write takes the lock unless it says otherwise.
    private func lockWish(_ locked: Bool?, wait: Int64?) -> LockWish {
        let isPeek = session == nil
        return LockWish(
            isWanted: locked ?? isPeek, isRequired: locked == true,
            wait: wait ?? (isPeek ? 5_000 : 0), token: nil)
    }

    fileprivate func fencingToken() throws(Problem) -> FencingToken? {
        guard let text = try header(.fencingToken) else { return nil }
        guard !text.isEmpty, text.utf8.allSatisfy({ (48...57).contains($0) }),
            let token = FencingToken(text)
        else {
            throw .invalidRequest(
                "Fencing-Token must be a whole number.", parameter: "Fencing-Token")
        }
        return token
    }
}

extension Span<UInt8> {
    /// The number that stands behind a word in at most 18 digits, if there is nothing else.
    fileprivate func number(behind word: StaticString) -> Int? {
        let length = word.utf8CodeUnitCount
        guard count > length, count <= length + 18 else { return nil }
        var number = 0
        for index in indices {
            if index < length {
                guard unsafe self[index] == word.utf8Start[index] else { return nil }
            } else {
                guard self[index].isDigit else { return nil }
                number = number * 10 + Int(self[index] - UInt8(ascii: "0"))
            }
        }
        return number
    }
}
