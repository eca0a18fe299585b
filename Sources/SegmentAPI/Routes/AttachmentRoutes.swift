import MicroHTTP
import SegmentService
import SharedMemory

extension SegmentAPI {
    func attach(_ call: Call) throws(Problem) -> Plan {
        try call.requireNoQuery()
        _ = try call.negotiate([.json])
        let session = try call.requireSession()
        let name = try call.segment()
        let service = service
        return try call.json(required: false) { (body) throws(JSONFailure) in
            let (mode, onLastDetach) = try reading { () throws(JSONError) in
                let mode = try body.choice("mode", of: AccessMode.words)
                let onLastDetach = try body.choice("on_last_detach", as: LastDetach.self)
                try body.finish()
                return (mode, onLastDetach)
            }
            return call.later { completion in
                service.attach(
                    name, session: session, mode: mode ?? .readWrite,
                    onLastDetach: onLastDetach ?? .destroy, completion: completion)
                return nil
            } answer: { (attached: SegmentService.Attached) in
                call.json(
                    201, attached.attachment, headers: [("Location", name.href + "/attachment")])
            }
        }
    }

    func showAttachment(_ call: Call) throws(Problem) -> Plan {
        try call.requireNoQuery()
        _ = try call.negotiate([.json])
        let session = try call.requireSession()
        let name = try call.segment()
        let attachment = try attempt { () throws(ServiceError) in
            try service.attachment(name, session: session)
        }
        return .respond(call.json(200, attachment))
    }

    func detach(_ call: Call) throws(Problem) -> Plan {
        let wait = try call.query { (query) throws(QueryError) in try query.wait() }
        try call.requireNoBody()
        _ = try call.negotiate([.json])
        let session = try call.requireSession()
        let name = try call.segment()
        return call.later { completion in
            service.detach(
                name, session: session, wait: wait ?? 5_000, client: call.exchange,
                completion: completion)
        } answer: { done in
            call.json(200, Detached(segment: done.segment, destroyed: done.destroyed))
        }
    }
}

extension QueryReader {
    /// How long to wait, in milliseconds.
    mutating func wait() throws(QueryError) -> Int64? {
        try int("wait_ms", in: 0...300_000).map(Int64.init)
    }
}
