internal import CMicroHTTPD
internal import Glibc

/// Small answers of libmicrohttpd's that a loop keeps, to be given again with another body.
///
/// Making one takes an allocation or three for each header; most answers differ from an earlier one
/// of the same template and size in a single header. Used on the loop thread only.
final class ResponseStock {
    /// The largest body that is worth a copy.
    private static let byteLimit = 8 * 1024
    /// How many answers are kept.
    private static let capacity = 32

    private var answers: [StockedResponse] = []
    private var oldest = 0

    /// An answer with this content, for which there must be a template; nil where it does not suit.
    func answer(for response: Response) -> StockedResponse? {
        guard let template = response.template else { return nil }
        switch response.content {
        case .empty:
            return unsafe answer(
                template, response, UnsafeRawBufferPointer(start: nil, count: 0))
        case .buffer(let buffer):
            return unsafe answer(template, response, buffer.pointer)
        case .bytes(let bytes):
            return unsafe bytes.withUnsafeBytes { unsafe answer(template, response, $0) }
        case .lent, .producer, .stream:
            return nil
        }
    }

    private func answer(
        _ template: ResponseTemplate, _ response: Response,
        _ body: UnsafeRawBufferPointer
    ) -> StockedResponse? {
        guard body.count <= Self.byteLimit else { return nil }
        for answer in answers where answer.fits(template, body.count) {
            unsafe answer.renew(response, body)
            return answer
        }
        guard let made = unsafe StockedResponse(template, response, body) else { return nil }
        if answers.count < Self.capacity {
            answers.append(made)
        } else {
            // One that is being sent lives until that is over.
            answers[oldest] = made
            oldest = (oldest + 1) % Self.capacity
        }
        return made
    }
}

/// An answer of libmicrohttpd's whose body and variable headers can be changed while nobody sends it.
@safe
final class StockedResponse {
    let native: OpaquePointer
    /// Whether it is being sent.
    var isTaken = false

    private let template: ResponseTemplate
    private let body: UnsafeMutableRawBufferPointer
    private var values = HeaderValues()
    private var headers: [(String, String)] = []

    init?(
        _ template: ResponseTemplate, _ response: Response,
        _ body: UnsafeRawBufferPointer
    ) {
        let block = UnsafeMutableRawBufferPointer.allocate(byteCount: body.count, alignment: 16)
        guard
            let native = unsafe MHD_create_response_from_buffer(
                block.count, block.baseAddress, .RESPMEM_PERSISTENT)
        else {
            unsafe block.deallocate()
            return nil
        }
        unsafe self.native = native
        unsafe self.body = block
        self.template = template
        for (name, value) in template.headers {
            _ = unsafe MHD_add_response_header(native, name, value)
        }
        unsafe renew(response, body)
    }

    deinit {
        unsafe MHD_destroy_response(native)
        unsafe body.deallocate()
    }

    func fits(_ template: ResponseTemplate, _ byteCount: Int) -> Bool {
        unsafe !isTaken && self.template === template && body.count == byteCount
    }

    /// Puts in another body, and other headers in the place of the variable ones.
    func renew(_ response: Response, _ body: UnsafeRawBufferPointer) {
        unsafe self.body.copyMemory(from: body)
        renew(response.values)
        if !headers.isEmpty || !response.headers.isEmpty { renew(response.headers) }
    }

    private func renew(_ new: HeaderValues) {
        for place in 0..<template.open.count {
            let name = template.open[place]
            if values.count > 0 {
                if values.isSame(as: new, place) { continue }
                unsafe values.withCString(place) { value in
                    _ = unsafe MHD_del_response_header(native, name.cString, value)
                }
            }
            unsafe new.withCString(place) { value in
                _ = unsafe MHD_add_response_header(native, name.cString, value)
            }
        }
        values = new
    }

    private func renew(_ new: [(String, String)]) {
        for index in 0..<max(new.count, headers.count) {
            let old = index < headers.count ? headers[index] : nil
            let new = index < new.count ? new[index] : nil
            if let old, let new, old == new { continue }
            // Closures, for a string that is passed as it is becomes an array first.
            if let (name, value) = old {
                unsafe name.withCString { name in
                    unsafe value.withCString { value in
                        _ = unsafe MHD_del_response_header(native, name, value)
                    }
                }
            }
            if let (name, value) = new {
                unsafe name.withCString { name in
                    unsafe value.withCString { value in
                        _ = unsafe MHD_add_response_header(native, name, value)
                    }
                }
            }
        }
        headers = new
    }
}

extension StaticString {
    /// The text as C wants it: a literal ends with a zero.
    fileprivate var cString: UnsafePointer<CChar> {
        unsafe UnsafeRawPointer(utf8Start).assumingMemoryBound(to: CChar.self)
    }
}
