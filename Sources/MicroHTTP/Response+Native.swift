internal import CMicroHTTPD
internal import Glibc

extension Response.Content {
    /// How long the body is, or nil if that will be known at its end.
    var byteCount: Int? {
        switch self {
        case .empty: 0
        case .bytes(let bytes): bytes.count
        case .buffer(let buffer): buffer.byteCount
        case .lent(let memory): memory.byteCount
        case .producer(let byteCount, _): byteCount
        case .stream: nil
        }
    }
}

extension Response {
    /// Builds the answer as libmicrohttpd wants it.
    ///
    /// - Parameters:
    ///   - exchange: Whom it answers; nil for an answer made in advance, which is of bytes.
    ///   - closing: Whether to tell the client that the connection closes after it.
    /// - Returns: The answer, to be destroyed by the caller, or nil if memory has run out.
    func makeNative(for exchange: Exchange?, closing: Bool) -> OpaquePointer? {
        guard let native = unsafe makeNativeContent(for: exchange) else { return nil }
        for (name, value) in allHeaders {
            _ = unsafe MHD_add_response_header(native, name, value)
        }
        if closing { _ = unsafe MHD_add_response_header(native, "Connection", "close") }
        // The library ends a body in chunks even where no body may be.
        if let exchange, content.byteCount == nil, !exchange.carriesBody(self) {
            unsafe cmicrohttpd_close_delimited(native)
        }
        return unsafe native
    }

    private func makeNativeContent(for exchange: Exchange?) -> OpaquePointer? {
        switch content {
        case .empty:
            return unsafe MHD_create_response_from_buffer(0, nil, .RESPMEM_PERSISTENT)
        case .bytes(let bytes):
            return unsafe bytes.withUnsafeBytes { bytes in
                unsafe MHD_create_response_from_buffer(
                    bytes.count, UnsafeMutableRawPointer(mutating: bytes.baseAddress),
                    .RESPMEM_MUST_COPY)
            }
        case .buffer(let buffer):
            return unsafe makeNative(lending: buffer.pointer, of: buffer)
        case .lent(let memory):
            if let exchange, exchange.link.isSecure {
                return unsafe ContentSource(exchange, .memory(memory))
                    .makeNative(byteCount: memory.byteCount)
            }
            return unsafe makeNative(lending: memory.bytes, of: memory.owner)
        case .producer(let byteCount, let producer):
            guard let exchange else { return nil }
            return unsafe ContentSource(exchange, .producer(producer, byteCount: byteCount))
                .makeNative(byteCount: byteCount)
        case .stream(let stream):
            guard let exchange else { return nil }
            return unsafe ContentSource(exchange, .stream(stream)).makeNative(byteCount: nil)
        }
    }

    /// The owner is released by libmicrohttpd with the response, once nothing is sent any more.
    private func makeNative(
        lending bytes: UnsafeRawBufferPointer, of owner: any AnyObject & Sendable
    ) -> OpaquePointer? {
        let hold = unsafe Unmanaged<AnyObject>.passRetained(owner)
        let native = unsafe MHD_create_response_from_buffer_with_free_callback_cls(
            bytes.count, UnsafeMutableRawPointer(mutating: bytes.baseAddress), releaseObject,
            hold.toOpaque())
        if unsafe native == nil { unsafe hold.release() }
        return unsafe native
    }

    /// The answer as bytes, for the rare case in which libmicrohttpd cannot send it.
    ///
    /// A body that is not simply bytes is left out.
    func serialized(for exchange: Exchange) -> (bytes: [UInt8], bodyByteCount: Int) {
        let reason = unsafe String(cString: MHD_get_reason_phrase_for(CUnsignedInt(status)))
        var head = "HTTP/1.1 \(status) \(reason)\r\nDate: \(httpDate())\r\nConnection: close\r\n"
        for (name, value) in allHeaders where !(name + value).contains(where: \.isNewline) {
            head += "\(name): \(value)\r\n"
        }
        var body: [UInt8] = []
        switch content {
        case .bytes(let bytes): body = bytes
        case .buffer(let buffer): body = Body(buffer: buffer).bytes
        default: break
        }
        if status != 204 { head += "Content-Length: \(body.count)\r\n" }
        if !exchange.carriesBody(self) { body = [] }
        return (Array("\(head)\r\n".utf8) + body, body.count)
    }
}

private let releaseObject: @convention(c) (UnsafeMutableRawPointer?) -> Void = { hold in
    if let hold = unsafe hold { unsafe Unmanaged<AnyObject>.fromOpaque(hold).release() }
}

/// The time of day in the form HTTP wants.
private func httpDate() -> String {
    var now = time(nil)
    var fields = unsafe tm()
    unsafe gmtime_r(&now, &fields)
    return unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: 64) { text in
        guard let start = text.baseAddress else { return "" }
        let count = unsafe strftime(start, text.count, "%a, %d %b %Y %H:%M:%S GMT", &fields)
        return count > 0 ? unsafe String(cString: start) : ""
    }
}
