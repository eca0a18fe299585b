import SegmentAPI
import Testing

private enum Existing: String, CaseIterable {
    case fail, attach
}

private func reader(_ text: String) throws -> ObjectReader {
    try ObjectReader(parsing: Array(text.utf8))
}

struct ObjectReaderTests {
    @Test func `members of every kind are read`() throws {
        var reader = try reader(
            """
            {"s":"x","b":true,"i":4096.0,"w":"18446744073709551615","n":12,"c":"attach","m":"rw",
             "d":"AQI=","o":{"x":1},"a":[{"y":2},{}],"v":null}
            """
        )
        #expect(try reader.requiredString("s") == "x")
        #expect(try reader.requiredBool("b"))
        #expect(try reader.requiredInt("i", in: 1...4096) == 4096)
        #expect(try reader.requiredWideInteger("w", as: UInt64.self) == .max)
        #expect(try reader.wideInteger("n", as: UInt8.self) == 12)
        #expect(try reader.requiredChoice("c", as: Existing.self) == .attach)
        #expect(try reader.requiredChoice("m", of: ["ro": 0, "rw": 1]) == 1)
        #expect(try reader.requiredBase64("d") == [1, 2])
        var inner = try #require(try reader.object("o"))
        #expect(try inner.int("x") == 1)
        try inner.finish()
        var elements = try #require(try reader.objects("a"))
        #expect(elements.count == 2)
        #expect(try elements[0].int("y") == 2)
        #expect(reader.value("v") == .null)
        try reader.finish()
    }

    @Test func `members that are left out read as nil`() throws {
        var reader = try reader("{}")
        #expect(try reader.string("s") == nil)
        #expect(try reader.bool("s") == nil)
        #expect(try reader.int("s") == nil)
        #expect(try reader.wideInteger("s", as: Int8.self) == nil)
        #expect(try reader.choice("s", as: Existing.self) == nil)
        #expect(try reader.choice("s", of: ["a": 1]) == nil)
        #expect(try reader.base64("s") == nil)
        #expect(try reader.object("s") == nil)
        #expect(try reader.objects("s") == nil)
        #expect(reader.value("s") == nil)
        try reader.finish()
    }

    @Test(arguments: [
        ("null", JSONError.Code.wrongType), ("true", .wrongType), ("\"1\"", .wrongType),
        ("[1]", .wrongType), ("{}", .wrongType), ("0.5", .notWhole), ("1e-9", .notWhole),
        ("0", .outOfRange), ("-1", .outOfRange), ("101", .outOfRange), ("1e999999999", .outOfRange),
        ("99999999999999999999", .outOfRange),
    ])
    func `a bad number is told apart`(text: String, code: JSONError.Code) throws {
        var reader = try reader("{\"size\":\(text)}")
        let error = #expect(throws: JSONError.self) { try reader.int("size", in: 1...100) }
        #expect(error?.code == code)
        #expect(error?.pointer == "/size")
    }

    @Test(arguments: [
        ("\"\"", JSONError.Code.invalidValue), ("\"-\"", .invalidValue), ("\"+1\"", .invalidValue),
        ("\"1.0\"", .invalidValue), ("\" 1\"", .invalidValue), ("\"0x1\"", .invalidValue),
        ("\"256\"", .outOfRange), ("\"-1\"", .outOfRange), ("256", .outOfRange), ("1.5", .notWhole),
        ("true", .wrongType), ("\"٣\"", .invalidValue),
    ])
    func `a bad wide integer is told apart`(text: String, code: JSONError.Code) throws {
        var reader = try reader("{\"n\":\(text)}")
        let error = #expect(throws: JSONError.self) { try reader.wideInteger("n", as: UInt8.self) }
        #expect(error?.code == code)
    }

    @Test func `a value of another kind is refused with what was expected`() throws {
        var reader = try reader(#"{"a":1,"b":null,"c":"x","d":[1],"e":"*"}"#)
        let string = #expect(throws: JSONError.self) { try reader.string("a") }
        #expect(string?.code == .wrongType)
        #expect(string?.reason == "\"a\" has to be a string, not a number.")
        let bool = #expect(throws: JSONError.self) { try reader.bool("b") }
        #expect(bool?.reason == "\"b\" has to be true or false, not null.")
        let choice = #expect(throws: JSONError.self) { try reader.choice("c", as: Existing.self) }
        #expect(choice?.code == .invalidValue)
        #expect(choice?.reason == "\"c\" has to be one of \"fail\", \"attach\".")
        let object = #expect(throws: JSONError.self) { try reader.object("c") }
        #expect(object?.code == .wrongType)
        #expect(object?.pointer == "/c")
        let element = #expect(throws: JSONError.self) { try reader.objects("d") }
        #expect(element?.pointer == "/d/0")
        let notArray = #expect(throws: JSONError.self) { try reader.objects("c") }
        #expect(notArray?.code == .wrongType)
        let base64 = #expect(throws: JSONError.self) { try reader.base64("e") }
        #expect(base64?.code == .invalidValue)
    }

    @Test func `a missing member is refused`() throws {
        var reader = try reader("{}")
        let error = #expect(throws: JSONError.self) { try reader.requiredInt("size") }
        #expect(
            error
                == JSONError(code: .missingMember, reason: "\"size\" is missing.", pointer: "/size")
        )
    }

    @Test func `a member nobody asked for is refused`() throws {
        var reader = try reader(#"{"size":1,"si/ze":2}"#)
        #expect(try reader.int("size") == 1)
        #expect(try reader.string("mode") == nil)
        let error = #expect(throws: JSONError.self) { try reader.finish() }
        #expect(error?.code == .unknownMember)
        #expect(error?.pointer == "/si~1ze")
        #expect(error?.reason == "Unknown member \"si/ze\"; known here: size, mode.")
    }

    @Test func `a name that only looks the same is unknown`() throws {
        var reader = try reader(#"{"\u212A":1}"#)
        #expect(try reader.int("K") == nil)
        #expect(throws: JSONError.self) { try reader.finish() }
    }

    @Test(arguments: ["[]", "1", "null", "\"{}\"", "true"])
    func `something else than an object at the top is refused`(text: String) {
        let error = #expect(throws: JSONError.self) { try reader(text) }
        #expect(error?.code == .wrongType)
        #expect(error?.pointer == "")
    }

    @Test func `a pointer leads through the objects around`() throws {
        var reader = try reader(#"{"then":[{},{"write":{"offset":-1,"b":1}}]}"#)
        var write = try #require(try reader.objects("then"))
        var inner = try #require(try write[1].object("write"))
        let error = #expect(throws: JSONError.self) { try inner.int("offset", in: 0...10) }
        #expect(error?.pointer == "/then/1/write/offset")
        #expect(inner.invalid("b", "No.").pointer == "/then/1/write/b")
        let unknown = #expect(throws: JSONError.self) { try inner.finish() }
        #expect(unknown?.pointer == "/then/1/write/b")
    }

    @Test func `a long hostile name is shortened in the sentence`() throws {
        let name = String(repeating: "n", count: 100_000)
        let error = #expect(throws: JSONError.self) { try reader("{\"\(name)\":1}").finish() }
        #expect(error.map { $0.reason.utf8.count < 200 } == true)
        let control = #expect(throws: JSONError.self) { try reader(#"{"a\nb":1}"#).finish() }
        #expect(control?.reason == "Unknown member \"a\u{FFFD}b\"; none is known here.")
    }
}
