import MicroHTTP
import SegmentService

extension Call {
    /// Puts on record that the policy turned the request away.
    func audit(_ refusal: Refusal) { audit(.refuse, reason: refusal.rawValue) }

    /// Puts on record that the request wrote, where that is anybody's business.
    func audit(writing byteCount: Int, to access: SegmentAccess) {
        guard service.noteForeignWrite(access) else { return }
        audit(.foreignWrite, segment: access.name, byteCount: byteCount)
    }

    /// Puts on record what the request did.
    ///
    /// - Parameters:
    ///   - kind: What it was.
    ///   - reason: Why, or how, in one word.
    ///   - segment: The text form of the name of the segment concerned.
    ///   - byteCount: How many bytes were made or written.
    func audit(
        _ kind: AuditEvent.Kind, reason: String? = nil, segment: String? = nil,
        byteCount: Int? = nil
    ) {
        var event = AuditEvent(kind)
        event.reason = reason
        event.segment = segment
        event.byteCount = byteCount
        event.session = session?.abbreviation
        event.remote = exchange.peer
        event.tokenLine = caller.tokenLine
        event.method = exchange.methodName
        event.route = route
        event.requestID = requestID.description
        api.audit(event)
    }
}
