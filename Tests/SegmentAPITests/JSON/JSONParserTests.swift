import Foundation
import SegmentAPI
import Testing

func parse(_ text: String) throws(JSONError) -> JSONValue {
    try JSONParser.parse(Array(text.utf8))
}

struct JSONParserTests {
    static let good = [
        "null", " true ", "false\n", "0", "-0", "1.5e-3", "1E+2", "1e999999999", #""""#,
        #""a""#, "[]", "[ ]", "{}", "{ }", "[1,2,[3]]", #"{"a":{"b":[null]}}"#, "\t[\r\n1 ]",
        #""\"\\\/\b\f\n\r\t\u0041\u00e9\ud83d\ude00\u0000""#, #""é😀\#u{7F}""#,
        #"{"":1}"#, #"{"a":1,"b":2,"A":3}"#, "123456789012345678901234567890",
        #""\uFFFF\uffff\uD800\uDC00\udbff\udfff""#, "[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]",
    ]

    static let bad = [
        "", " ", "nul", "nulll", "True", "NaN", "Infinity", "-Infinity", "'a'", "01", "-01", "00",
        "-", "+1", ".5", "1.", "1.e2", "1e", "1e+", "0x10", "1 2", "1,", "[1,]", "[,1]", "[1 2]",
        "[", "]", "{", "}", "[1", "{\"a\"", "{\"a\":", "{\"a\":1", "{\"a\":1,}", "{a:1}", "{1:1}",
        "{\"a\" 1}", "{\"a\":1 \"b\":2}", "{,}", "\"", "\"a", "\"\\", "\"\\\"", #""\x""#,
        #""\u""#, #""\u12""#, #""\u12G4""#, #""\u 123""#, #""\u+123""#, #""\ud800""#,
        #""\udc00""#, #""\ud800\u0041""#, #""\ud800\ud800""#, #""\ud800x""#, #""\udc00\ud800""#,
        #""\ud800\""#, #""\ud800\u""#, #""\ud83d\ude0""#, #""\U0041""#, "\"\u{0}\"", "\"\n\"",
        "\"\t\"", "\"\u{1F}\"", "\u{FEFF}{}", "{}\u{0}", "\u{B}1", "\u{A0}1", "//a\n1", "[1]x",
        "\"a\"\"b\"", "é",
    ]

    @Test(arguments: good)
    func `what the grammar allows is accepted, as Foundation does`(text: String) throws {
        let value = try parse(text)
        // Foundation gives no value for numbers beyond a double.
        guard text != "1e999999999" else { return }
        let theirs = try JSONSerialization.jsonObject(
            with: Data(text.utf8),
            options: .fragmentsAllowed
        )
        let again = try JSONSerialization.jsonObject(
            with: Data(JSONWriter.text(of: value)),
            options: .fragmentsAllowed
        )
        #expect((theirs as? NSObject) == (again as? NSObject))
    }

    @Test(arguments: bad)
    func `what the grammar does not allow is refused`(text: String) {
        let error = #expect(throws: JSONError.self) { try parse(text) }
        #expect(error?.code == .malformed)
        #expect(error?.offset.map { 0...text.utf8.count ~= $0 } == true)
    }

    @Test(
        arguments: [
            [0xC0, 0x80], [0xC1, 0xBF], [0xE0, 0x80, 0x80], [0xE0, 0x9F, 0xBF],
            [0xF0, 0x80, 0x80, 0x80],
            [0xED, 0xA0, 0x80], [0xED, 0xBF, 0xBF], [0xF4, 0x90, 0x80, 0x80],
            [0xF5, 0x80, 0x80, 0x80],
            [0x80], [0xBF], [0xFF], [0xFE], [0xC3], [0xE2, 0x82], [0xF0, 0x9F, 0x98], [0xC3, 0x28],
            // A sequence that an escape would complete if it were resolved first.
            Array(#"\u00e9"#.utf8) + [0xA9], [0xC3] + Array(#"\u00a9"#.utf8),
        ] as [[UInt8]])
    func `a string that is not UTF-8 is refused at its place`(bytes: [UInt8]) {
        let text = Array(#"{"k": ["", ""#.utf8) + bytes + Array(#""]}"#.utf8)
        let error = #expect(throws: JSONError.self) { try JSONParser.parse(text) }
        #expect(error?.code == .malformed)
        #expect(error?.reason == "A string is not UTF-8.")
        #expect(error?.pointer == "/k/1")
    }

    @Test(arguments: [
        (#"{"a":1,"a":2}"#, "/a", 7),
        (#"{"a":1,"\u0061":2}"#, "/a", 7),
        (#"{"x":[{},{"~/":1, "~\/":2}]}"#, "/x/1/~0~1", 18),
        (#"{"":1,"":2}"#, "/", 6),
        (#"{"a\u0000b":1,"a\u0000b":2}"#, "/a\u{0}b", 14),
    ])
    func `a name that comes twice is refused`(text: String, pointer: String, offset: Int) {
        let error = #expect(throws: JSONError.self) { try parse(text) }
        #expect(error?.code == .duplicateMember)
        #expect(error?.pointer == pointer)
        #expect(error?.offset == offset)
    }

    @Test func `a name that comes twice among thousands is refused`() throws {
        let members = (0..<5000).map { "\"m\($0)\":\($0)" }.joined(separator: ",")
        #expect(try parse("{\(members)}") != .null)
        let error = #expect(throws: JSONError.self) { try parse("{\(members),\"m4711\":0}") }
        #expect(error?.pointer == "/m4711")
    }

    @Test func `names that only look alike are two names`() throws {
        let text = #"{"K":1,"\u212A":2,"é":3,"e\u0301":4}"#
        guard case .object(let object) = try parse(text) else {
            Issue.record("not an object")
            return
        }
        #expect(object.members.count == 4)
        #expect(object["K"] == .number(try #require(JSONNumber("1"))))
        #expect(object["\u{212A}"] == .number(try #require(JSONNumber("2"))))
        #expect(object["nothing"] == nil)
    }

    @Test(arguments: [
        (#"{"a": tru}"#, "/a"), (#"[0, [1, 01]]"#, "/1/1"), (#"{"a": {"b": "\q"}}"#, "/a/b"),
        ("[", "/0"), (#"{"a":1} x"#, ""), (#"{"a/b": -}"#, "/a~1b"),
    ])
    func `an error tells its place`(text: String, pointer: String) {
        let error = #expect(throws: JSONError.self) { try parse(text) }
        #expect(error?.pointer == pointer)
    }

    @Test func `nesting past the limit is refused without looking further`() {
        for opening in ["[", #"{"a":"#] {
            let text = Array(String(repeating: opening, count: 100_000).utf8)
            let error = #expect(throws: JSONError.self) { try JSONParser.parse(text) }
            #expect(error?.code == .tooDeep)
            #expect(error?.offset == 16 * opening.utf8.count)
            let deeper = #expect(throws: JSONError.self) {
                try JSONParser.parse(text, depthLimit: .max)
            }
            #expect(deeper?.code == .tooDeep)
        }
    }

    @Test func `exactly the limit is allowed`() throws {
        #expect(try JSONParser.parse(Array("[[]]".utf8), depthLimit: 2) == .array([.array([])]))
        #expect(throws: JSONError.self) { try JSONParser.parse(Array("[[]]".utf8), depthLimit: 1) }
        #expect(try JSONParser.parse(Array("7".utf8), depthLimit: 0) != .null)
        #expect(throws: JSONError.self) { try JSONParser.parse(Array("[]".utf8), depthLimit: -1) }
    }

    @Test func `a megabyte of anything is parsed or refused in no time`() throws {
        let million = 1_000_000
        let clock = ContinuousClock()
        let start = clock.now
        let plain = String(repeating: "x", count: million)
        #expect(try parse("\"\(plain)\"") == .string(plain))
        let escapes = String(repeating: #"\u00e9"#, count: million / 6)
        #expect(
            try parse("\"\(escapes)\"") == .string(String(repeating: "é", count: million / 6))
        )
        #expect(throws: JSONError.self) { try parse("\"" + plain) }
        #expect(throws: JSONError.self) { try parse(String(repeating: "\\", count: million)) }
        #expect(throws: JSONError.self) {
            try parse("\"" + String(repeating: "\\", count: million))
        }
        #expect(throws: JSONError.self) { try parse(String(repeating: " ", count: million)) }
        #expect(try parse(String(repeating: "9", count: million)) != .null)
        #expect(throws: JSONError.self) { try parse(String(repeating: "0", count: million)) }
        let zeros = "[" + String(repeating: "0,", count: million / 2) + "0]"
        #expect(try parse(zeros) != .null)
        #expect(throws: JSONError.self) { try parse("{\"\(plain)\":1,\"\(plain)\":2}") }
        #expect(clock.now - start < .seconds(20))
    }

    @Test func `every way of cutting a text short or breaking a byte is survived`() throws {
        let text = Array(#"{"a":[1.5e3,"\ud83d\ude00é",null,true],"b":{"c":"\n"},"d":-0}"#.utf8)
        #expect(try JSONParser.parse(text) != .null)
        for end in 0..<text.count {
            #expect(throws: JSONError.self) { try JSONParser.parse(Array(text[..<end])) }
        }
        for index in text.indices {
            for byte in UInt8.min...UInt8.max {
                var broken = text
                broken[index] = byte
                guard let value = try? JSONParser.parse(broken) else { continue }
                #expect(try JSONParser.parse(JSONWriter.text(of: value)) == value)
            }
        }
    }

    @Test func `a span is parsed like the bytes in it`() throws {
        let bytes: [UInt8] = Array("[1]".utf8)
        #expect(try JSONParser.parse(bytes.span) == JSONParser.parse(bytes))
    }
}
