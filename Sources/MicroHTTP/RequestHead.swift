internal import CMicroHTTPD
internal import Glibc

/// What the head of a request says about its body, and what is wrong with it.
@safe
struct RequestHead {
    var contentLength: Int?
    var isChunked = false
    var expectsContinue = false
    var fault: RequestFault?

    private var hosts = 0
    private var lengths = 0
    private var encodings = 0

    /// Looks at every header once.
    init(of connection: OpaquePointer?) {
        unsafe withUnsafeMutablePointer(to: &self) { head in
            _ = unsafe MHD_get_connection_values_n(connection, .HEADER_KIND, noteHeader, head)
        }
        if encodings > 0, lengths > 0 { fault = .contradictoryLength }
    }

    /// Takes note of one header.
    fileprivate mutating func note(_ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer)
    {
        guard let last = unsafe name.last, last != UInt8(ascii: " "), last != UInt8(ascii: "\t")
        else {
            fault = fault ?? .malformedHeader
            return
        }
        switch name.count {
        case 4 where unsafe name.isSame(as: "host"):
            hosts += 1
            if hosts > 1 { fault = fault ?? .duplicateHeader("Host") }
        case 6 where unsafe name.isSame(as: "expect"):
            if unsafe value.isSame(as: "100-continue") {
                expectsContinue = true
            } else {
                fault = fault ?? .unsupportedExpectation
            }
        case 14 where unsafe name.isSame(as: "content-length"):
            lengths += 1
            if lengths > 1 { fault = fault ?? .duplicateHeader("Content-Length") }
            // Only digits come through to here; what is too large for an Int is too large for anyone.
            contentLength = unsafe Int(String(decoding: value, as: UTF8.self)) ?? .max
        case 17 where unsafe name.isSame(as: "transfer-encoding"):
            encodings += 1
            if encodings > 1 { fault = fault ?? .duplicateHeader("Transfer-Encoding") }
            isChunked = true
            if unsafe !value.isSame(as: "chunked") {
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
        UnsafeRawBufferPointer(start: value, count: valueCount)
    )
    return .YES
}

extension UnsafeRawBufferPointer {
    /// Whether the bytes are those of `word`, which is in lower case, but for the case.
    fileprivate func isSame(as word: StaticString) -> Bool {
        guard count == word.utf8CodeUnitCount else { return false }
        for index in 0..<count {
            let byte = unsafe self[index]
            let isUpper = byte >= UInt8(ascii: "A") && byte <= UInt8(ascii: "Z")
            guard unsafe (isUpper ? byte | 0x20 : byte) == word.utf8Start[index] else {
                return false
            }
        }
        return true
    }
}

/// Copies every value of one header.
func headerValues(named name: String, in connection: OpaquePointer?) -> [String] {
    struct Search {
        let name: String
        var values: [String] = []
    }
    var search = Search(name: name)
    unsafe withUnsafeMutablePointer(to: &search) { pointer in
        _ = unsafe MHD_get_connection_values(
            connection, .HEADER_KIND,
            { search, _, name, value in
                guard let search = unsafe search?.assumingMemoryBound(to: Search.self),
                    let name = unsafe name, let value = unsafe value
                else { return .YES }
                if unsafe strcasecmp(name, search.pointee.name) == 0 {
                    unsafe search.pointee.values.append(String(cString: value))
                }
                return .YES
            }, pointer)
    }
    return search.values
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
