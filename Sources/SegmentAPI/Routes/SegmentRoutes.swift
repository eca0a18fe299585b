import MicroHTTP
import SegmentService
import SharedMemory

extension SegmentAPI {
    func listSegments(_ call: Call) throws(Problem) -> Plan {
        let (origin, limit, cursor) = try call.query { (query) throws(QueryError) in
            let origin = try query.choice("origin", as: SegmentStatus.Origin.self)
            let limit = try query.int("limit", in: 1...1000)
            var after: [UInt8]?
            if let cursor = query.string("cursor") {
                after = Cursor.decode(cursor)
                if after == nil {
                    throw query.invalid("cursor", "A cursor is the next_cursor of the page before.")
                }
            }
            return (origin, limit ?? 1000, after)
        }
        _ = try call.negotiate([.json])
        return call.later { [service] completion in
            service.inBackground({ service.segments }, completion: completion)
        } answer: { [self] (found: [SegmentStatus]) in
            page(of: found, origin: origin, limit: limit, after: cursor, call)
        }
    }

    private func page(
        of all: [SegmentStatus], origin: SegmentStatus.Origin?, limit: Int, after cursor: [UInt8]?,
        _ call: Call
    ) -> Response {
        var found = all
        if let origin { found.removeAll { $0.origin != origin } }
        if !policy.showsEverything(to: call.caller) {
            found.removeAll { !policy.shows($0.name, to: call.caller) }
        }
        if let cursor {
            found.removeAll { !cursor.lexicographicallyPrecedes($0.name.description.utf8) }
        }
        let page = Array(found.prefix(limit))
        let next = found.count > limit ? page.last.map { Cursor.encode($0.name.description) } : nil
        return call.json(200, Listing(name: "segments", elements: page, next: next))
    }

    func createSegment(_ call: Call) throws(Problem) -> Plan {
        try call.requireNoQuery()
        _ = try call.negotiate([.json])
        let session = try call.requireSession()
        let (service, policy) = (service, policy)
        return try call.json(required: true) { (body) throws(JSONFailure) in
            let (key, native, size, mode, onLastDetach, ifExists) = try reading {
                () throws(JSONError) in
                let key = try body.string("key")
                let native = try body.string("native_key")
                let size = body.value("size")
                let mode = try body.choice("mode", of: AccessMode.words)
                let onLastDetach = try body.choice("on_last_detach", as: LastDetach.self)
                let ifExists = try body.choice("if_exists", as: ExistingSegment.self)
                if key != nil, native != nil {
                    throw body.invalid("native_key", "Give either key or native_key, not both.")
                }
                if key == nil, native == nil {
                    throw body.invalid("key", "A key or a native_key is missing.")
                }
                guard case .number? = size else {
                    throw body.invalid("size", "The size is missing, or is no number of bytes.")
                }
                try body.finish()
                return (key, native, size, mode, onLastDetach, ifExists)
            }
            let name: SegmentName
            do throws(ServiceError) {
                if let native {
                    name = try service.name(nativeKey: native)
                } else {
                    name = try service.name(plainKey: key ?? "")
                }
            } catch { throw .problem(Problem(error)) }
            do throws(Problem) { try policy.require(name, shownTo: call.caller) } catch {
                throw .problem(error)
            }
            guard case .number(let number)? = size, let byteCount = number.exactInt else {
                throw .problem(
                    Problem(
                        ServiceError(
                            .invalidSize, "the size must be a whole number of bytes below 2^63")))
            }
            return call.later { completion in
                service.create(
                    name, byteCount: byteCount, mode: mode ?? .readWrite,
                    onLastDetach: onLastDetach ?? .destroy, ifExists: ifExists ?? .fail,
                    session: session, completion: completion)
                return nil
            } answer: { (attached: SegmentService.Attached) in
                if attached.isNew {
                    call.audit(
                        .create, segment: attached.attachment.segment,
                        byteCount: attached.attachment.byteCount)
                }
                return call.json(
                    attached.isNew ? 201 : 200, attached.attachment,
                    headers: [("Location", name.href)])
            }
        }
    }

    func showSegment(_ call: Call) throws(Problem) -> Plan {
        try call.requireNoQuery()
        _ = try call.negotiate([.json])
        let name = try call.segment()
        guard case .key(let key) = name, key.type == .posix else {
            // The kernel counts who has a segment of System V.
            let status = try attempt { () throws(ServiceError) in try service.segment(name) }
            return .respond(call.json(200, status))
        }
        return call.later { [service] completion in
            service.inBackground(
                { () throws(ServiceError) in try service.segment(name) }, completion: completion)
        } answer: { (status: SegmentStatus) in
            call.json(200, status)
        }
    }

    func removeSegment(_ call: Call) throws(Problem) -> Plan {
        let force = try call.query { (query) throws(QueryError) in try query.bool("force") }
        try call.requireNoBody()
        let name = try call.segment()
        if force == true { try call.requireForceRole() }
        try attempt { () throws(ServiceError) in try service.remove(name, force: force ?? false) }
        if force == true { call.audit(.force, reason: "delete", segment: name.description) }
        return .respond(call.response(204))
    }
}

/// The mark where a page of a list ended: the id of its last element, in digits, so that it can
/// stand in a URL as it is.
enum Cursor {
    static func encode(_ id: String) -> String {
        id.utf8.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }

    static func decode(_ text: String) -> [UInt8]? {
        let digits = Array(text.utf8)
        guard !digits.isEmpty, digits.count % 2 == 0 else { return nil }
        var bytes: [UInt8] = []
        for index in stride(from: 0, to: digits.count, by: 2) {
            let pair = String(decoding: digits[index..<index + 2], as: UTF8.self)
            guard pair.utf8.allSatisfy({ $0 != UInt8(ascii: "+") && $0 != UInt8(ascii: "-") }),
                let byte = UInt8(pair, radix: 16)
            else { return nil }
            bytes.append(byte)
        }
        return bytes
    }
}
