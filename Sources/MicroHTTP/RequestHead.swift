internal import CMicroHTTPD
internal import Glibc

/// What the head of a request says, and what is wrong with it.
@safe
struct RequestHead {
    var method = Method.get
    var isHTTP11 = true
    var contentLength: Int?
    var isChunked = false
    var expectsContinue = false
    var fault: RequestFault?

    var hasHost: Bool { hosts > 0 }

    private var fields: HeaderList?
    private var hosts = 0
    private var lengths = 0
    private var encodings = 0

    /// Looks at the request line, and at every header once.
    ///
    /// - Parameters:
    ///   - connection: Whose request it is.
    ///   - method: As it was sent.
    ///   - version: As it was sent.
    ///   - headers: Takes note of every header.
    mutating func read(
        _ connection: OpaquePointer?, method: UnsafePointer<CChar>?,
        version: UnsafePointer<CChar>?, into headers: HeaderList
    ) {
        unsafe self.method = parseMethod(method)
        unsafe isHTTP11 = version.map { unsafe strcmp($0, "HTTP/1.0") != 0 } ?? false
        headers.removeAll()
        fields = headers
        unsafe withUnsafeMutablePointer(to: &self) { head in
            _ = unsafe MHD_get_connection_values_n(connection, .HEADER_KIND, noteHeader, head)
        }
        if encodings > 0, lengths > 0 { fault = .contradictoryLength }
    }

    /// Takes note of one header.
    fileprivate mutating func note(_ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer)
    {
        unsafe fields?.append(name, value)
        guard let last = unsafe name.last, last != UInt8(ascii: " "), last != UInt8(ascii: "\t")
        else {
            fault = fault ?? .malformedHeader
            return
        }
        switch name.count {
        case 4 where unsafe name.isSameIgnoringCase(as: "host"):
            hosts += 1
            if hosts > 1 { fault = fault ?? .duplicateHeader("Host") }
        case 6 where unsafe name.isSameIgnoringCase(as: "expect"):
            if unsafe value.isSameIgnoringCase(as: "100-continue") {
                expectsContinue = true
            } else {
                fault = fault ?? .unsupportedExpectation
            }
        case 14 where unsafe name.isSameIgnoringCase(as: "content-length"):
            lengths += 1
            if lengths > 1 { fault = fault ?? .duplicateHeader("Content-Length") }
            // Only digits come through to here; what is too large for an Int is too large for anyone.
            contentLength = unsafe Int(String(decoding: value, as: UTF8.self)) ?? .max
        case 17 where unsafe name.isSameIgnoringCase(as: "transfer-encoding"):
            encodings += 1
            if encodings > 1 { fault = fault ?? .duplicateHeader("Transfer-Encoding") }
            isChunked = true
            if unsafe !value.isSameIgnoringCase(as: "chunked") {
                fault = fault ?? .unsupportedTransferEncoding
            }
        default:
            break
        }
    }
}

private let noteHeader: MHD_KeyValueIteratorN = { head, _, name, nameCount, value, valueCount in
    guard let head = unsafe head?.assumingMemoryBound(to: RequestHead.self) else { return .NO }
    unsafe head.pointee.note(
        UnsafeRawBufferPointer(start: name, count: nameCount),
        UnsafeRawBufferPointer(start: value, count: valueCount))
    return .YES
}

/// Names the method of a request; the common ones cost nothing.
func parseMethod(_ text: UnsafePointer<CChar>?) -> Method {
    guard let text = unsafe text else { return Method("") }
    if unsafe strcmp(text, "GET") == 0 { return .get }
    if unsafe strcmp(text, "PUT") == 0 { return .put }
    if unsafe strcmp(text, "POST") == 0 { return .post }
    if unsafe strcmp(text, "PATCH") == 0 { return .patch }
    if unsafe strcmp(text, "DELETE") == 0 { return .delete }
    if unsafe strcmp(text, "HEAD") == 0 { return .head }
    return unsafe Method(String(cString: text))
}
