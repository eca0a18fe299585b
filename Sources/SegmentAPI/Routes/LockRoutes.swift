import MicroHTTP
import SegmentService
import SharedMemory

extension SegmentAPI {
    func lock(_ call: Call) throws(Problem) -> Plan {
        let wait = try call.query { (query) throws(QueryError) in try query.wait() }
        try call.requireNoBody()
        _ = try call.negotiate([.json])
        let session = try call.requireSession()
        let name = try call.knownSegment()
        let service = service
        return call.later { completion in
            service.lock(
                name, session: session, wait: wait ?? 0, client: call.exchange,
                completion: completion)
        } answer: { (grant: LockGrant) in
            var response = call.json(200, grant)
            // Whoever hangs up before hearing of the lock does not have it.
            response.onDelivered = { wasDelivered in
                guard !wasDelivered else { return }
                try? service.unlock(name, session: session, token: grant.fencingToken)
            }
            return response
        }
    }

    func showLock(_ call: Call) throws(Problem) -> Plan {
        try call.requireNoQuery()
        _ = try call.negotiate([.json])
        let name = try call.segment()
        let status = try attempt { () throws(ServiceError) -> LockStatus in
            guard let status = try service.lockStatus(existing: name) else {
                throw .lockUnsupported(name)
            }
            return status
        }
        return .respond(call.json(200, status))
    }

    func unlock(_ call: Call) throws(Problem) -> Plan {
        let force = try call.query { (query) throws(QueryError) in try query.bool("force") }
        try call.requireNoBody()
        if force == true { try call.requireForceRole() }
        let name = try call.knownSegment()
        if force == true {
            try attempt { () throws(ServiceError) in try service.breakLock(name.name) }
            call.audit(.force, reason: "unlock", segment: name.name.description)
        } else {
            let session = try call.requireSession()
            try attempt { () throws(ServiceError) in try service.unlock(name, session: session) }
        }
        return .respond(call.response(204))
    }
}
