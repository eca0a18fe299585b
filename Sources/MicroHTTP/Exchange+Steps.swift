internal import CMicroHTTPD
internal import Glibc
internal import Synchronization

// What the loop does with an exchange. All of it runs on the loop thread.
extension Exchange {
    /// Takes the next step: the head has come, or a piece of the body, or its end (no bytes).
    func step(
        method: UnsafePointer<CChar>?,
        version: UnsafePointer<CChar>?,
        upload: UnsafeRawBufferPointer
    ) -> MHD_Result {
        link.loop.noteStep(isPiece: unsafe !upload.isEmpty)
        guard endedBy == nil else { return .NO }
        switch phase {
        case .fresh:
            unsafe link.headers.read(connection)
            head = unsafe RequestHead(method: method, version: version, headers: link.headers)
            return begin()
        case .collecting:
            guard unsafe upload.isEmpty else { return unsafe collect(upload) }
            phase = .awaiting
            if let then = collection.take()?.then { decide(after: then, with: body.take()) }
            return conclude()
        case .draining:
            guard unsafe upload.isEmpty else { return drain(upload.count) }
            return conclude()
        case .awaiting:
            return conclude()
        case .lingering:
            return unsafe upload.isEmpty ? .NO : .YES
        case .answered:
            return .NO
        }
    }

    /// Looks at the head and asks the handler what to do.
    private func begin() -> MHD_Result {
        isAnnounced = true
        if let fault = link.arrival.refusal ?? head.fault ?? hostFault ?? targetFault ?? bodyFault {
            give(link.loop.handler.refusal(fault, self))
            return hasBody && !expectsContinue ? answerBeforeBody() : queueGiven()
        }
        switch link.loop.handler.receive(self) {
        case .respond(let response): return refuse(consume response)
        case .refuse(let response): return refuse(consume response)
        case .collect(let limit, let overflow, let then):
            let isKnown = contentLength ?? 0
            guard isKnown <= limit else { return refuse(overflow()) }
            guard isKnown <= BodyBuffer.uncountedByteCount || memory.hasRoom(for: isKnown),
                body.reserve(isKnown, from: link.loop.bodies)
            else { return refuse(noRoom()) }
            phase = .collecting
            bodyLimit = limit
            collection = Collection(overflow: overflow, then: then)
        case .later:
            phase = .draining
        }
        return .YES
    }

    private var memory: BodyMemory { link.loop.bodyMemory }

    private func noRoom() -> Response {
        link.loop.handler.refusal(.tooManyBodies(limit: memory.limit), self)
    }

    private var hostFault: RequestFault? {
        head.hasHost || !isHTTP11 || isOverUnixSocket ? nil : .missingHost
    }

    private var targetFault: RequestFault? {
        if !target.isAbsolutePath { return .unsupportedTarget }
        return target.hasSpace ? .malformedTarget : nil
    }

    private var bodyFault: RequestFault? {
        hasBody && (method == .get || method == .head) ? .unexpectedBody : nil
    }

    /// Gives an answer that does not need the body, which has not been read.
    private func refuse(_ response: consuming Response) -> MHD_Result {
        give(response)
        phase = .draining
        // An answer in this very call costs the connection, so without a body it waits for the next.
        guard hasBody else { return .YES }
        if expectsContinue { return queueGiven() }
        guard (contentLength ?? 0) <= link.loop.configuration.drainLimit else {
            return answerBeforeBody()
        }
        return .YES
    }

    private func give(_ response: consuming Response) {
        respond(response)
    }

    private func collect(_ upload: UnsafeRawBufferPointer) -> MHD_Result {
        let fits = body.byteCount + upload.count <= bodyLimit
        if fits, body.takeRoom(for: upload.count, in: memory) {
            if unsafe body.append(upload) { return .YES }
            if body.makeRoom(for: upload.count, limit: bodyLimit, from: link.loop.bodies),
                unsafe body.append(upload)
            {
                return .YES
            }
        }
        drained = body.byteCount
        body.discard()
        phase = .draining
        if let overflow = collection.take()?.overflow { give(fits ? noRoom() : overflow()) }
        return drain(upload.count)
    }

    private func drain(_ byteCount: Int) -> MHD_Result {
        drained += byteCount
        guard drained > link.loop.configuration.drainLimit else { return .YES }
        return answerBeforeBody()
    }

    private func decide(after then: (Body) -> Plan, with body: Body) {
        switch then(body) {
        case .respond(let response), .refuse(let response): give(response)
        case .collect(_, _, let next): decide(after: next, with: body)
        case .later: break
        }
    }

    /// The request is here whole: answers it, or waits for the answer.
    private func conclude() -> MHD_Result {
        link.deadline = .max
        phase = .awaiting
        if let response = takeReady() { return queue(response) }
        let given = answering.withLock { state in
            let given = state.given.take()
            state.isSuspended = given == nil
            return given
        }
        if let given { return queue(given.response) }
        guard suspend() else { return .NO }
        return .YES
    }

    // MARK: Answering

    private func takeGiven() -> Response? {
        takeReady() ?? answering.withLock { $0.given.take() }?.response
    }

    private func takeReady() -> Response? { ready.take() }

    private func queueGiven() -> MHD_Result {
        guard let response = takeGiven() else { return fail() }
        return queue(response)
    }

    private func fail() -> MHD_Result {
        endedBy = .broken
        return .NO
    }

    private func note(_ response: Response) {
        status = response.status
        responseTag = response.tag
        onDelivered = response.onDelivered
        if response.byteCount == nil, case .stream(let stream) = response.content {
            self.stream = stream
        }
    }

    private func queue(_ response: Response) -> MHD_Result {
        note(response)
        phase = .answered
        // The kernel would take the bytes for a client that has just left, so ask it first.
        if response.onDelivered != nil, cmicrohttpd_is_hung_up(link.descriptor) != 0 {
            endedBy = .clientGone
            return .NO
        }
        bytesSent = carriesBody(response) ? response.byteCount ?? 0 : 0
        if bytesSent > briefByteCount {
            link.deadline = monotonicNanoseconds() &+ link.loop.answerNanoseconds(bytesSent)
        }
        stream?.attach(
            to: self, backlogLimit: link.loop.configuration.streamBacklog)
        let status = CUnsignedInt(clamping: response.status)
        if let prepared = response.prepared, !link.loop.isDraining {
            return unsafe MHD_queue_response(connection, status, prepared.native)
        }
        if !link.loop.isDraining, let stocked = link.loop.stock.answer(for: response) {
            stocked.isTaken = true
            self.stocked = stocked
            return unsafe MHD_queue_response(connection, status, stocked.native)
        }
        guard let native = unsafe response.makeNative(for: self, closing: link.loop.isDraining)
        else { return fail() }
        defer { unsafe MHD_destroy_response(native) }
        return unsafe MHD_queue_response(connection, status, native)
    }

    /// Whether a body follows the head of an answer to this request.
    func carriesBody(_ response: Response) -> Bool {
        method != .head && response.status != 204 && response.status != 304
    }

    /// Answers at once although the body is still coming, then drops what comes.
    ///
    /// libmicrohttpd would either not take an answer now, or close the socket under a client that is
    /// still sending, which costs the client the answer. So these few bytes are sent past it.
    private func answerBeforeBody() -> MHD_Result {
        guard let response = takeGiven() else { return fail() }
        note(response)
        phase = .lingering
        let message = response.serialized(for: self)
        guard unsafe message.bytes.withUnsafeBytes({ unsafe link.sendLast($0) }) else {
            return fail()
        }
        bytesSent = message.bodyByteCount
        isDelivered = true
        link.deadline = monotonicNanoseconds() + lingerNanoseconds
        return .YES
    }

    // MARK: Waiting

    /// Takes the connection off the loop until ``resume()``.
    ///
    /// - Parameter yielding: Whether that is only for a turn of the loop.
    /// - Returns: false when everything is being closed, so that nothing may wait any more.
    func suspend(yielding: Bool = false) -> Bool {
        guard !link.loop.isClosing else {
            endedBy = .shutdown
            return false
        }
        isSuspended = true
        wasSuspended = true
        isYielding = yielding
        link.loop.willSuspend(self)
        unsafe MHD_suspend_connection(connection)
        return true
    }

    /// Has the loop see to others before it goes on with this exchange.
    ///
    /// - Returns: false when everything is being closed.
    func yield() -> Bool {
        guard suspend(yielding: true) else { return false }
        wake()
        return true
    }

    /// Puts the connection back on the loop.
    func resume() {
        guard isSuspended else { return }
        isSuspended = false
        answering.withLock { $0.isSuspended = false }
        link.loop.didResume()
        unsafe MHD_resume_connection(connection)
    }

    /// Asks the loop to look at the exchange again, from any thread.
    func wake() {
        link.loop.post(.wake(self))
    }

    /// Asks the loop to close the connection, from any thread.
    func abort(_ outcome: ExchangeRecord.Outcome) {
        link.loop.post(.end(self, outcome))
    }

    /// Closes the connection without (the rest of) an answer.
    func end(_ outcome: ExchangeRecord.Outcome) {
        guard unsafe connection != nil, endedBy == nil else { return }
        endedBy = outcome
        loseHope()?()
        _ = shutdown(link.descriptor, CInt(SHUT_RDWR))
        resume()
    }

    /// Notes that no answer can be given any more.
    private func loseHope() -> (@Sendable () -> Void)? {
        answering.withLock { $0.loseHope() }
    }

    /// Whether some of the request is still to come.
    var isReceiving: Bool {
        switch phase {
        case .fresh, .collecting, .draining, .lingering: true
        case .awaiting, .answered: false
        }
    }

    /// Whether a stop should wait for the exchange.
    var isInFlight: Bool {
        isAnnounced && !(isSuspended && (stream?.isIdle ?? false))
    }

    // MARK: The end

    /// The request is over: tells everyone who waits for that, each once.
    func complete(_ code: MHD_RequestTerminationCode, now: UInt64) {
        let isGone = link.loop.isConnectionLost(link.descriptor, after: code)
        let (given, onHangUp) = answering.withLock { $0.end() }
        onHangUp?()
        // What has a status was queued.
        if status == nil { (takeReady() ?? given?.response)?.settle(delivered: false) }
        let isDelivered =
            isDelivered || (code == .REQUEST_TERMINATED_COMPLETED_OK && status != nil)
        stream?.close()
        onDelivered?(isDelivered)
        if isAnnounced {
            let record = ExchangeRecord(
                status: status,
                tag: responseTag,
                bytesSent: isDelivered || isCounting ? bytesSent : 0,
                nanoseconds: now - startedAt,
                outcome: isDelivered ? .completed : endedBy ?? outcome(code, isGone: isGone)
            )
            link.loop.handler.finished(self, record)
        }
        collection = nil  // it may hold the exchange
        if body.hasMemory { body.discard() }
        stocked?.isTaken = false
        // Whoever keeps the exchange keeps none of this.
        unsafe connection = nil
        isSuspended = false
        stocked = nil
        stream = nil
        onDelivered = nil
        keepsake = nil
        phase = .answered
    }

    private func outcome(
        _ code: MHD_RequestTerminationCode, isGone: Bool
    ) -> ExchangeRecord.Outcome {
        if link.isOverdue { return .timedOut }
        return switch code {
        case .REQUEST_TERMINATED_TIMEOUT_REACHED: .timedOut
        case .REQUEST_TERMINATED_DAEMON_SHUTDOWN: .shutdown
        case .REQUEST_TERMINATED_READ_ERROR, .REQUEST_TERMINATED_CLIENT_ABORT: .clientGone
        default: isGone ? .clientGone : .broken
        }
    }
}

/// How long an answer is, in bytes, that the kernel takes at once: it is not watched whether the client
/// takes it.
private let briefByteCount = 16 * 1024

/// For how long a client that was refused may go on sending.
let lingerNanoseconds: UInt64 = 2_000_000_000

/// The time on a clock that never goes back.
func monotonicNanoseconds() -> UInt64 {
    var time = timespec()
    unsafe clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}
