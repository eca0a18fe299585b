internal import Glibc

/// What the head of a request says, and what is wrong with it.
struct RequestHead {
    private(set) var method = Method.other
    /// The method as it was sent, where it is none that has a name.
    private(set) var otherMethod = ""
    private(set) var isHTTP11 = true
    private(set) var contentLength: Int?
    private(set) var isChunked = false
    private(set) var expectsContinue = false
    private(set) var hasHost = false
    private(set) var fault: RequestFault?

    /// A head of which nothing is known yet.
    init() {}

    /// Looks at the request line, and at every header once.
    ///
    /// - Parameters:
    ///   - method: As it was sent.
    ///   - version: As it was sent.
    ///   - headers: All that were sent.
    init(
        method: UnsafePointer<CChar>?, version: UnsafePointer<CChar>?,
        headers: borrowing HeaderList
    ) {
        (self.method, otherMethod) = unsafe Self.read(method)
        unsafe isHTTP11 = version.map { unsafe strcmp($0, "HTTP/1.0") != 0 } ?? false
        for index in 0..<headers.count {
            unsafe note(headers.name(index), headers.value(index))
        }
        if isChunked, contentLength != nil { fault = .contradictoryLength }
    }

    /// Takes note of one header.
    private mutating func note(_ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) {
        guard let last = unsafe name.last, last != UInt8(ascii: " "), last != UInt8(ascii: "\t")
        else {
            fault = fault ?? .malformedHeader
            return
        }
        switch name.count {
        case 4 where unsafe name.isSameIgnoringCase(as: "host"):
            if hasHost { fault = fault ?? .duplicateHeader("Host") }
            hasHost = true
        case 6 where unsafe name.isSameIgnoringCase(as: "expect"):
            if unsafe value.isSameIgnoringCase(as: "100-continue") {
                expectsContinue = true
            } else {
                fault = fault ?? .unsupportedExpectation
            }
        case 14 where unsafe name.isSameIgnoringCase(as: "content-length"):
            if contentLength != nil { fault = fault ?? .duplicateHeader("Content-Length") }
            contentLength = unsafe Self.number(value)
        case 17 where unsafe name.isSameIgnoringCase(as: "transfer-encoding"):
            if isChunked { fault = fault ?? .duplicateHeader("Transfer-Encoding") }
            isChunked = true
            if unsafe !value.isSameIgnoringCase(as: "chunked") {
                fault = fault ?? .unsupportedTransferEncoding
            }
        default:
            break
        }
    }

    /// The number that digits say; nothing else comes through to here, and what is too large for an `Int`
    /// is too large for anyone.
    private static func number(_ digits: UnsafeRawBufferPointer) -> Int {
        var number = 0
        for index in digits.indices {
            let digit = unsafe Int(digits[index] &- UInt8(ascii: "0"))
            let (tens, isTooLarge) = number.multipliedReportingOverflow(by: 10)
            let (sum, hasCarry) = tens.addingReportingOverflow(digit)
            guard digit < 10, !isTooLarge, !hasCarry else { return .max }
            number = sum
        }
        return number
    }

    /// Names a method; the common ones cost nothing.
    private static func read(_ text: UnsafePointer<CChar>?) -> (Method, other: String) {
        guard let text = unsafe text else { return (.other, "") }
        if unsafe strcmp(text, "GET") == 0 { return (.get, "") }
        if unsafe strcmp(text, "PUT") == 0 { return (.put, "") }
        if unsafe strcmp(text, "POST") == 0 { return (.post, "") }
        if unsafe strcmp(text, "PATCH") == 0 { return (.patch, "") }
        if unsafe strcmp(text, "DELETE") == 0 { return (.delete, "") }
        if unsafe strcmp(text, "HEAD") == 0 { return (.head, "") }
        if unsafe strcmp(text, "OPTIONS") == 0 { return (.options, "") }
        return (.other, unsafe String(cString: text))
    }
}
