import SegmentAPI
import Testing

struct AcceptTests {
    static let offers: [MediaType] = [.octetStream, .plainText, .json]

    @Test(
        arguments: [
            (nil, .octetStream), ("", .octetStream), ("*/*", .octetStream), (",,", .octetStream),
            ("garbage", .octetStream), ("a/b/c, text", .octetStream), ("application/json", .json),
            ("APPLICATION/JSON", .json), ("text/*", .plainText), ("application/*", .octetStream),
            ("application/json, */*", .octetStream), ("application/json, */*;q=0.1", .json),
            ("text/plain;q=0.5, application/json;q=0.6", .json), ("image/png", nil),
            ("*/*;q=0", nil), ("*/*, application/octet-stream;q=0", .plainText),
            ("text/*;q=0.9, text/plain;q=0.1, application/json;q=0.5", .json),
            ("text/plain;q=0.1, text/*;q=0.9, application/json;q=0.5", .json),
            ("application/json;charset=utf-8", .json),
            ("application/json; charset=\"UTF-8\"", .json),
            ("application/json;indent=4", nil), ("text/plain;charset=latin1", nil),
            ("application/json;q=1.000", .json), ("application/json;q=1.", .json),
            ("application/json;Q=0.001", .json), ("application/json;q=0.000", nil),
            ("application/json;q=0.5;ext=1", .json), ("image/png;q=2, application/json", .json),
            ("*/json, text/plain", .plainText),
            ("x/y;a=\"text/plain, b\", application/json", .json),
            ("x/y;a=\"\\\", text/plain\", application/json", .json),
            ("x y, text/plain", .plainText),
            ("text/plain ;\tq=0.2 , application/json ; q=0.3", .json),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", .octetStream),
            ("text/plain;", .plainText), ("text/plain; q=0.5;", .plainText),
        ] as [(String?, MediaType?)])
    func `the best type on offer is picked`(field: String?, best: MediaType?) {
        #expect(Accept(field).best(of: Self.offers) == best)
    }

    @Test(arguments: ["q=1.1", "q=-1", "q=0.1234", "q=1.001", "q=", "q=x", "q=.5", "q", "q=00"])
    func `a member with a malformed quality is passed over`(quality: String) {
        #expect(Accept("text/plain;\(quality), application/json").best(of: Self.offers) == .json)
    }

    @Test func `a type with parameters answers ranges that ask for them`() throws {
        let metrics = try #require(MediaType("text/plain; version=0.0.4; charset=utf-8"))
        #expect(Accept("text/plain;version=0.0.4;q=0.3").best(of: [metrics]) == metrics)
        #expect(Accept("text/plain").best(of: [metrics]) == metrics)
        #expect(Accept("text/plain;version=1").best(of: [metrics]) == nil)
    }

    @Test func `nothing on offer is nothing picked`() {
        #expect(Accept(nil).best(of: []) == nil)
        #expect(Accept("*/*").best(of: []) == nil)
    }

    @Test func `a megabyte of anything is no trouble`() {
        for piece in [",", "\"", "a/b,", "a/b;", "\\", "a/b;c=\"", "a/b;c=\",", ";q=0,", " "] {
            let field = String(repeating: piece, count: 1_000_000 / piece.utf8.count)
            _ = Accept(field).best(of: Self.offers)
            _ = MediaType(field)
        }
    }
}

struct MediaTypeTests {
    @Test(arguments: [
        "application/json", "Application/JSON", " application/json ",
        "application/json;charset=utf-8",
        "application/json; charset=UTF-8", "application/json; charset=\"utf-8\"",
        "application/json ; x=y", "application/json;",
    ])
    func `these are JSON`(field: String) {
        #expect(MediaType(field)?.isJSON == true)
    }

    @Test(arguments: [
        "text/json", "application/problem+json", "application/json; charset=latin1",
        "application/jsonx", "application/x-www-form-urlencoded", "text/plain",
        "application/json; charset=utf-8; charset=utf-16",
    ])
    func `these are not JSON`(field: String) {
        #expect(MediaType(field)?.isJSON == false)
    }

    @Test(arguments: [
        "", " ", "json", "application", "application/", "/json", "application json",
        "application/json, text/plain", "application/json; charset", "application/json; charset=",
        "application/json; =utf-8", "application/json; charset=\"utf-8", "application/json x",
        "application/json; charset =utf-8", "application/js on", "application/json\u{0}", "é/é",
        "application/json; a=\"\u{1}\"", "application/json; a=\"\\",
    ])
    func `these are no media types`(field: String) {
        #expect(MediaType(field) == nil)
    }

    @Test func `bodies that wrap others are known`() {
        #expect(MediaType("Multipart/Form-Data; boundary=x")?.isMultipartOrMessage == true)
        #expect(MediaType("message/http")?.isMultipartOrMessage == true)
        #expect(MediaType("application/octet-stream")?.isMultipartOrMessage == false)
    }

    @Test func `the parts of a type are read`() throws {
        let type = try #require(MediaType(#"Text/Plain; A=B;c="d\"\\é""#))
        #expect(type.type == "text")
        #expect(type.subtype == "plain")
        #expect(type.parameters.map(\.name) == ["a", "c"])
        #expect(type.parameters.map(\.value) == ["B", #"d"\é"#])
    }
}
