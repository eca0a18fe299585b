import MicroHTTP
import SegmentService

extension SegmentAPI {
    func openSession(_ call: Call) throws(Problem) -> Plan {
        try call.requireNoQuery()
        _ = try call.negotiate([.json])
        let service = service
        return try call.json(required: false) { (body) throws(JSONFailure) in
            let (name, timeToLive, binding) = try reading { () throws(JSONError) in
                let name = try body.string("name")
                let timeToLive = try body.int("ttl_ms", in: Session.timesToLive.asInts)
                let binding = try body.choice("bind", as: Session.Binding.self)
                if let name, !(1...128).contains(name.unicodeScalars.count) {
                    throw body.invalid("name", "A name has 1 to 128 characters.")
                }
                // Shown to others, in terminals and logs as well.
                if let name, name.unicodeScalars.contains(where: \.isControl) {
                    throw body.invalid("name", "A name has no control characters.")
                }
                try body.finish()
                return (name, timeToLive, binding)
            }
            let process = binding == .process ? try call.process(boundBy: body) : nil
            do throws(ServiceError) {
                let session = try service.openSession(
                    name: name,
                    timeToLive: timeToLive.map(Int64.init) ?? Session.defaultTimeToLive,
                    binding: binding ?? .timeToLive, process: process)
                return .respond(
                    call.json(
                        201, SessionView(session, isOwn: true, to: call),
                        headers: [("Location", "/v1/sessions/\(session.id)")]))
            } catch { throw .problem(Problem(error)) }
        }
    }

    func listSessions(_ call: Call) throws(Problem) -> Plan {
        try call.requireNoQuery()
        _ = try call.negotiate([.json])
        let views = service.sessions.map { SessionView($0, isOwn: false, to: call) }
        return .respond(call.json(200, Listing(name: "sessions", elements: views)))
    }

    func showSession(_ call: Call) throws(Problem) -> Plan {
        try call.requireNoQuery()
        _ = try call.negotiate([.json])
        let id = try call.pathSession()
        let session = try attempt { () throws(ServiceError) in try service.session(id) }
        return .respond(call.json(200, SessionView(session, isOwn: true, to: call)))
    }

    func renewSession(_ call: Call) throws(Problem) -> Plan {
        try call.requireNoBody()
        return try showSession(call)
    }

    func endSession(_ call: Call) throws(Problem) -> Plan {
        try call.requireNoQuery()
        try call.requireNoBody()
        _ = try call.negotiate([.json])
        let id = try call.pathSession()
        let released = try attempt { () throws(ServiceError) in try service.endSession(id) }
        let shown = call.shown(released, \.segment)
        return .respond(call.json(200, Listing(name: "released", elements: shown)))
    }

    func holdSession(_ call: Call) throws(Problem) -> Plan {
        try call.requireNoQuery()
        _ = try call.negotiate([.eventStream])
        let id = try call.pathSession()
        if call.isHead {
            try attempt { () throws(ServiceError) in try service.renew(id) }
            return .respond(call.response(200, type: "text/event-stream"))
        }
        let stream = EventStream()
        try attempt { () throws(ServiceError) in
            try service.beginHold(id, onEnd: { stream.finish() })
        }
        stream.onClose { [service] in service.endHold(id) }
        stream.send(Array(": the session is held while this stream is open\n\n".utf8))
        Self.keepAlive(stream, service)
        return .respond(
            call.response(200, type: "text/event-stream", content: .stream(stream)))
    }

    /// Sends a comment every 15 seconds, so that nobody in between takes the stream for dead.
    private static func keepAlive(_ stream: EventStream, _ service: SegmentService) {
        service.schedule(afterMilliseconds: 15_000) { [weak stream] in
            guard let stream, stream.send(Array(":\n\n".utf8)) else { return }
            keepAlive(stream, service)
        }
    }
}

extension ClosedRange where Bound == Int64 {
    fileprivate var asInts: ClosedRange<Int> { Int(lowerBound)...Int(upperBound) }
}

extension Call {
    /// The process behind the connection.
    fileprivate func process(boundBy body: ObjectReader) throws(JSONFailure) -> BoundProcess {
        do throws(PeerProcessError) {
            let peer = try exchange.openPeerProcess()
            if let process = BoundProcess(
                owning: peer.descriptor, number: peer.number, startedBefore: peer.latestStart)
            {
                return process
            }
            throw .gone
        } catch {
            switch error {
            case .notLocal:
                throw .json(
                    body.invalid(
                        "bind",
                        "Only a session opened over a Unix socket has a process to bind to."))
            case .invisible:
                throw .json(
                    body.invalid(
                        "bind",
                        "The client's process is in another process namespace, where this server cannot see it."
                    ))
            case .gone:
                throw .json(
                    body.invalid("bind", "The process that made the connection has exited."))
            case .refused(let number):
                throw .problem(
                    Problem(
                        ServiceError(
                            .outOfResources,
                            "The kernel gives no descriptor of the client's process (\(number)).")))
            }
        }
    }

    /// Refuses a body where none has a meaning.
    func requireNoBody() throws(Problem) {
        guard !exchange.hasBody else { throw .invalidRequest("This request takes no body.") }
    }
}

extension Unicode.Scalar {
    fileprivate var isControl: Bool { properties.generalCategory == .control }
}
