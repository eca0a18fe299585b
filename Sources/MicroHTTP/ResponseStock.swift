internal import CMicroHTTPD
internal import Glibc
internal import Synchronization

/// Answers of libmicrohttpd's that a loop keeps, to be given again with another body.
///
/// Making one takes an allocation or three for each header; most answers differ from an earlier one
/// of the same template and size in a single header. Used on the loop thread only.
final class ResponseStock {
    /// Answers with bodies of up to some size, of which a few are kept.
    private final class Shelf {
        let byteLimit: Int
        private let capacity: Int
        private var answers: [StockedResponse] = []
        private var oldest = 0

        init(byteLimit: Int, capacity: Int) {
            self.byteLimit = byteLimit
            self.capacity = capacity
        }

        /// One that nobody uses, made anew if there is none.
        func answer(
            _ template: ResponseTemplate, _ byteCount: Int, of stock: ResponseStock
        ) -> StockedResponse? {
            for answer in answers where answer.fits(template, byteCount) { return answer }
            guard let made = StockedResponse(template, byteCount: byteCount, of: stock) else {
                return nil
            }
            if answers.count < capacity {
                answers.append(made)
            } else {
                // One that is being sent lives until that is over.
                answers[oldest] = made
                oldest = (oldest + 1) % capacity
            }
            return made
        }
    }

    private let small = Shelf(byteLimit: 8 * 1024, capacity: 32)
    private let large = Shelf(byteLimit: 64 * 1024, capacity: 8)

    /// An answer whose body the caller is going to fill; nil where it is too long for that.
    func take(_ template: ResponseTemplate, _ byteCount: Int) -> StockedResponse? {
        let answer: StockedResponse?
        if byteCount <= small.byteLimit {
            answer = small.answer(template, byteCount, of: self)
        } else if byteCount <= large.byteLimit {
            answer = large.answer(template, byteCount, of: self)
        } else {
            answer = nil
        }
        answer?.lend()
        return answer
    }

    /// An answer with this content, for which there must be a template; nil where it does not suit.
    func answer(for response: Response) -> StockedResponse? {
        guard let template = response.template else { return nil }
        switch response.content {
        case .empty:
            return unsafe answer(
                template, response, UnsafeRawBufferPointer(start: nil, count: 0))
        case .buffer(let buffer):
            if let answer = buffer.home, answer.canSend(its: template, from: self) {
                answer.renew(response)
                return answer
            }
            return unsafe answer(template, response, buffer.pointer)
        case .bytes(let bytes):
            return unsafe bytes.withUnsafeBytes { unsafe answer(template, response, $0) }
        case .lent, .producer, .stream:
            return nil
        }
    }

    /// An answer with a copy of a body, where it is short enough to be worth it.
    private func answer(
        _ template: ResponseTemplate, _ response: Response,
        _ body: UnsafeRawBufferPointer
    ) -> StockedResponse? {
        guard body.count <= small.byteLimit,
            let answer = small.answer(template, body.count, of: self)
        else { return nil }
        unsafe answer.body.copyMemory(from: body)
        answer.renew(response)
        return answer
    }
}

/// An answer of libmicrohttpd's whose body and variable headers can be changed while nobody sends it.
///
/// `@unchecked Sendable`: but for the body, which whoever has it lent may read, everything that changes is
/// touched on the loop thread only.
@safe
final class StockedResponse: @unchecked Sendable {
    let native: OpaquePointer
    /// Where the body lies, and how long it is.
    let start: UnsafeMutableRawPointer
    let byteCount: Int
    /// Whether it is being sent.
    var isTaken = false
    /// Whether somebody fills the body, or has it filled.
    private let isLent = Atomic<Bool>(false)

    private let stock: ObjectIdentifier
    private let template: ResponseTemplate
    private var values = HeaderValues()
    private var headers: [(String, String)] = []

    init?(_ template: ResponseTemplate, byteCount: Int, of stock: ResponseStock) {
        let start = UnsafeMutableRawPointer.allocate(byteCount: max(byteCount, 1), alignment: 16)
        guard
            let native = unsafe MHD_create_response_from_buffer(
                byteCount, start, .RESPMEM_PERSISTENT)
        else {
            unsafe start.deallocate()
            return nil
        }
        unsafe self.native = native
        unsafe self.start = start
        self.byteCount = byteCount
        self.stock = ObjectIdentifier(stock)
        self.template = template
        for (name, value) in template.headers {
            _ = unsafe MHD_add_response_header(native, name, value)
        }
    }

    deinit {
        unsafe MHD_destroy_response(native)
        unsafe start.deallocate()
    }

    /// The body.
    var body: UnsafeMutableRawBufferPointer {
        unsafe UnsafeMutableRawBufferPointer(start: start, count: byteCount)
    }

    /// Whether it can be given for another answer of the template.
    func fits(_ template: ResponseTemplate, _ byteCount: Int) -> Bool {
        !isTaken && self.template === template && self.byteCount == byteCount
            && !isLent.load(ordering: .acquiring)
    }

    /// Lends the body to somebody who fills it.
    func lend() { isLent.store(true, ordering: .relaxed) }

    /// Takes the body back, from any thread.
    func giveBack() { isLent.store(false, ordering: .releasing) }

    /// Whether an answer of the template can be sent with the body that was filled in here.
    func canSend(its template: ResponseTemplate, from stock: ResponseStock) -> Bool {
        !isTaken && self.template === template && self.stock == ObjectIdentifier(stock)
    }

    /// Puts in other headers in the place of the variable ones.
    func renew(_ response: Response) {
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
