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
        guard flow.end == nil else { return .NO }
        switch flow.phase {
        case .fresh:
            unsafe receiveHead(method: method, version: version)
            return begin()
        case .collecting(let limit, let overflow, let then):
            guard unsafe upload.isEmpty else {
                return unsafe collect(upload, limit: limit, overflow: overflow)
            }
            flow.phase = .awaiting
            decide(after: then, with: flow.body.take())
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

    private func receiveHead(method: UnsafePointer<CChar>?, version: UnsafePointer<CChar>?) {
        unsafe self.method = parseMethod(method)
        unsafe isHTTP11 = version.map { unsafe strcmp($0, "HTTP/1.0") != 0 } ?? false
    }

    /// Looks at the head and asks the handler what to do.
    private func begin() -> MHD_Result {
        let head = unsafe RequestHead(of: flow.connection)
        contentLength = head.contentLength
        isChunked = head.isChunked
        expectsContinue = head.expectsContinue && isHTTP11
        headerList = head.fields
        flow.isAnnounced = true
        if let fault = link.arrival.refusal ?? head.fault ?? hostFault(head) ?? targetFault
            ?? bodyFault
        {
            give(link.loop.handler.refusal(fault, self))
            return hasBody && !expectsContinue ? answerBeforeBody() : queueGiven()
        }
        let plan = link.loop.handler.receive(self)
        switch plan {
        case .respond(let response), .refuse(let response):
            return refuse(response)
        case .collect(let limit, let overflow, let then):
            let isKnown = contentLength ?? 0
            guard isKnown <= limit else { return refuse(overflow()) }
            guard isKnown <= BodyBuffer.uncountedByteCount || memory.hasRoom(for: isKnown),
                flow.body.reserve(isKnown)
            else { return refuse(noRoom()) }
            flow.phase = .collecting(limit: limit, overflow: overflow, then: then)
        case .later:
            flow.phase = .draining
        }
        return .YES
    }

    private var memory: BodyMemory { link.loop.bodyMemory }

    private func noRoom() -> Response {
        link.loop.handler.refusal(.tooManyBodies(limit: memory.limit), self)
    }

    private func hostFault(_ head: RequestHead) -> RequestFault? {
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
    private func refuse(_ response: Response) -> MHD_Result {
        give(response)
        flow.phase = .draining
        // An answer in this very call costs the connection, so without a body it waits for the next.
        guard hasBody else { return .YES }
        if expectsContinue { return queueGiven() }
        guard (contentLength ?? 0) <= link.loop.configuration.drainLimit else {
            return answerBeforeBody()
        }
        return .YES
    }

    private func give(_ response: Response) {
        respond(response)
    }

    private func collect(
        _ upload: UnsafeRawBufferPointer, limit: Int, overflow: () -> Response
    ) -> MHD_Result {
        let fits = flow.body.byteCount + upload.count <= limit
        if fits, flow.body.takeRoom(for: upload.count, in: memory),
            unsafe flow.body.append(upload, limit: limit)
        {
            return .YES
        }
        flow.drained = flow.body.byteCount
        flow.body.discard()
        flow.phase = .draining
        give(fits ? noRoom() : overflow())
        return drain(upload.count)
    }

    private func drain(_ byteCount: Int) -> MHD_Result {
        flow.drained += byteCount
        guard flow.drained > link.loop.configuration.drainLimit else { return .YES }
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
        flow.phase = .awaiting
        let response = answering.withLock { state -> Response? in
            if case .given(let response) = state.answer {
                state.answer = .taken
                return response
            }
            state.isSuspended = true
            return nil
        }
        if let response { return queue(response) }
        guard suspend() else { return .NO }
        return .YES
    }

    // MARK: Answering

    private func takeGiven() -> Response? {
        answering.withLock { state in
            guard case .given(let response) = state.answer else { return nil }
            state.answer = .taken
            return response
        }
    }

    private func queueGiven() -> MHD_Result {
        guard let response = takeGiven() else { return fail() }
        return queue(response)
    }

    private func fail() -> MHD_Result {
        flow.end = .broken
        return .NO
    }

    private func note(_ response: Response) {
        flow.status = response.status
        flow.responseTag = response.tag
        flow.onDelivered = response.onDelivered
        if case .stream(let stream) = response.content { flow.stream = stream }
    }

    private func queue(_ response: Response) -> MHD_Result {
        note(response)
        flow.phase = .answered
        // The kernel would take the bytes for a client that has just left, so ask it first.
        if response.onDelivered != nil, cmicrohttpd_is_hung_up(link.descriptor) != 0 {
            flow.end = .clientGone
            return .NO
        }
        flow.bytesSent = carriesBody(response) ? response.content.byteCount ?? 0 : 0
        if flow.bytesSent > briefByteCount {
            link.deadline = monotonicNanoseconds() &+ link.loop.answerNanoseconds(flow.bytesSent)
        }
        flow.stream?.attach(
            to: self, backlogLimit: link.loop.configuration.streamBacklog)
        let status = CUnsignedInt(clamping: response.status)
        if let prepared = response.prepared, !link.loop.isDraining {
            return unsafe MHD_queue_response(flow.connection, status, prepared.native)
        }
        if !link.loop.isDraining, let stocked = link.loop.stock.answer(for: response) {
            stocked.isTaken = true
            flow.stocked = stocked
            return unsafe MHD_queue_response(flow.connection, status, stocked.native)
        }
        guard let native = unsafe response.makeNative(for: self, closing: link.loop.isDraining)
        else { return fail() }
        defer { unsafe MHD_destroy_response(native) }
        return unsafe MHD_queue_response(flow.connection, status, native)
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
        flow.phase = .lingering
        let message = response.serialized(for: self)
        guard unsafe message.bytes.withUnsafeBytes({ unsafe link.sendLast($0) }) else {
            return fail()
        }
        flow.bytesSent = message.bodyByteCount
        flow.isDelivered = true
        link.deadline = monotonicNanoseconds() + lingerNanoseconds
        return .YES
    }

    // MARK: Waiting

    /// Takes the connection off the loop until ``resume()``.
    ///
    /// - Returns: false when everything is being closed, so that nothing may wait any more.
    func suspend() -> Bool {
        guard !link.loop.isClosing else {
            flow.end = .shutdown
            return false
        }
        flow.isSuspended = true
        link.loop.willSuspend(self)
        unsafe MHD_suspend_connection(flow.connection)
        return true
    }

    /// Puts the connection back on the loop.
    func resume() {
        guard flow.isSuspended else { return }
        flow.isSuspended = false
        answering.withLock { $0.isSuspended = false }
        link.loop.didResume()
        unsafe MHD_resume_connection(flow.connection)
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
        guard unsafe flow.connection != nil, flow.end == nil else { return }
        flow.end = outcome
        loseHope()?()
        _ = shutdown(link.descriptor, CInt(SHUT_RDWR))
        resume()
    }

    /// Notes that no answer can be given any more.
    private func loseHope() -> (@Sendable () -> Void)? {
        answering.withLock { state in
            guard case .awaited = state.answer else { return nil }
            state.answer = .impossible
            defer { state.onHangUp = nil }
            return state.onHangUp
        }
    }

    /// Whether some of the request is still to come.
    var isReceiving: Bool {
        switch flow.phase {
        case .fresh, .collecting, .draining, .lingering: true
        case .awaiting, .answered: false
        }
    }

    /// Whether the connection waits for ``resume()``.
    var isSuspended: Bool { flow.isSuspended }

    /// Whether a stop should wait for the exchange.
    var isInFlight: Bool {
        flow.isAnnounced && !(flow.isSuspended && (flow.stream?.isIdle ?? false))
    }

    // MARK: The end

    /// The request is over: tells everyone who waits for that, each once.
    func complete(_ code: MHD_RequestTerminationCode) {
        let isGone = link.loop.isConnectionLost(link.descriptor, after: code)
        let unsent = answering.withLock { state -> Response? in
            state.descriptor = -1
            state.isSuspended = false
            guard case .given(let response) = state.answer else { return nil }
            state.answer = .impossible
            return response
        }
        loseHope()?()
        unsent?.settle(delivered: false)
        let isDelivered =
            flow.isDelivered || (code == .REQUEST_TERMINATED_COMPLETED_OK && flow.status != nil)
        flow.stream?.close()
        flow.onDelivered?(isDelivered)
        if flow.isAnnounced {
            let record = ExchangeRecord(
                status: flow.status,
                tag: flow.responseTag,
                bytesSent: isDelivered || flow.isCounting ? flow.bytesSent : 0,
                nanoseconds: monotonicNanoseconds() - startedAt,
                outcome: isDelivered ? .completed : flow.end ?? outcome(code, isGone: isGone)
            )
            link.loop.handler.finished(self, record)
        }
        flow.body.discard()
        flow.stocked?.isTaken = false
        flow = Flow()
        flow.phase = .answered
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
