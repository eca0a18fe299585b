internal import CMicroHTTPD

// What libmicrohttpd calls, on the loop thread. A link is retained while libmicrohttpd knows a
// connection, and keeps the exchange while it knows a request; each is released in the callback that
// ends it.

/// The request line is here: `target` is as it was sent, before anything is cut out of it.
let targetCallback:
    @convention(c) (
        UnsafeMutableRawPointer?, UnsafePointer<CChar>?, OpaquePointer?
    ) -> UnsafeMutableRawPointer? = { _, target, connection in
        guard let connection = unsafe connection, let link = unsafe link(of: connection) else {
            return nil
        }
        let now = monotonicNanoseconds()
        return unsafe link._withUnsafeGuaranteedRef { link in
            link.beginRequest(now: now)
            let exchange = unsafe Exchange(
                target: Target(target), link: link, connection: connection, startedAt: now)
            link.exchange = exchange
            return unsafe Unmanaged.passUnretained(exchange).toOpaque()
        }
    }

/// The head is here, or a piece of the body, or its end.
let accessCallback: MHD_AccessHandlerCallback = {
    _, _, _, method, version, upload, uploadByteCount, request in
    guard let request = unsafe request?.pointee, let uploadByteCount = unsafe uploadByteCount else {
        return .NO
    }
    let bytes = unsafe UnsafeRawBufferPointer(start: upload, count: uploadByteCount.pointee)
    unsafe uploadByteCount.pointee = 0
    // Its link keeps it for as long as libmicrohttpd knows the request.
    return unsafe Unmanaged<Exchange>.fromOpaque(request)._withUnsafeGuaranteedRef {
        unsafe $0.step(method: method, version: version, upload: bytes)
    }
}

/// The request is over, one way or another.
let completedCallback: MHD_RequestCompletedCallback = { _, _, request, code in
    guard let opaque = unsafe request?.pointee else { return }
    unsafe request?.pointee = nil
    // Its link outlives it.
    let link = unsafe Unmanaged<Exchange>.fromOpaque(opaque)._withUnsafeGuaranteedRef { exchange in
        let now = monotonicNanoseconds()
        exchange.link.deadline = now &+ exchange.link.loop.idleNanoseconds
        if exchange.link.hasSentAll { exchange.link.loop.close(whenReadToEnd: exchange.link) }
        exchange.link.noteEnd(of: exchange)
        exchange.complete(code, now: now)
        return unsafe Unmanaged.passUnretained(exchange.link)
    }
    // The last reference, unless the application has one.
    unsafe link._withUnsafeGuaranteedRef { $0.exchange = nil }
}

/// A connection was accepted, or is about to be closed.
let connectionCallback: MHD_NotifyConnectionCallback = { context, connection, linkSlot, code in
    guard let context = unsafe context, let connection = unsafe connection,
        let linkSlot = unsafe linkSlot
    else { return }
    let loop = unsafe Unmanaged<Loop>.fromOpaque(context).takeUnretainedValue()
    switch code {
    case .CONNECTION_NOTIFY_STARTED:
        guard let (daemon, arrival) = loop.takeArriving() else { return }
        let link = unsafe Link(
            loop: loop, daemon: daemon, arrival: arrival, connection: connection)
        unsafe linkSlot.pointee = Unmanaged.passRetained(link).toOpaque()
        unsafe link.secure(connection)
        loop.configuration.traffic?.begin()
        loop.add(link)
    case .CONNECTION_NOTIFY_CLOSED:
        guard let opaque = unsafe linkSlot.pointee else { return }
        unsafe linkSlot.pointee = nil
        loop.remove(unsafe Unmanaged<Link>.fromOpaque(opaque).takeRetainedValue())
        loop.configuration.traffic?.end()
    }
}

/// libmicrohttpd has something to say.
let logCallback: @convention(c) (UnsafeMutableRawPointer?, UnsafePointer<CChar>) -> Void = {
    context, line in
    guard let context = unsafe context else { return }
    let loop = unsafe Unmanaged<Loop>.fromOpaque(context).takeUnretainedValue()
    guard let log = loop.configuration.log else { return }
    let text = unsafe String(cString: line)
    log(text.hasSuffix("\n") ? String(text.dropLast()) : text)
}

private func link(of connection: OpaquePointer) -> Unmanaged<Link>? {
    guard let opaque = unsafe cmicrohttpd_socket_context(connection) else { return nil }
    return unsafe Unmanaged<Link>.fromOpaque(opaque)
}
