import SegmentAPI
import Testing

private enum Format: String, CaseIterable {
    case raw, hex
}

struct QueryTests {
    @Test func `parameters keep their order and are decoded`() throws {
        let query = try Query("b=%20x&a=1+2&c=&d&e==&%66=%3D%26".utf8)
        #expect(query.parameters.map(\.name) == ["b", "a", "c", "d", "e", "f"])
        #expect(query.parameters.map(\.value) == [" x", "1 2", "", "", "=", "=&"])
    }

    @Test func `an empty query has no parameters`() throws {
        #expect(try Query("".utf8).parameters.isEmpty)
        try QueryReader("").finish()
    }

    @Test(arguments: [
        ("a=1&a=2", QueryError.Code.duplicateParameter, "a"), ("a&%61", .duplicateParameter, "a"),
        ("a=1&&b=2", .malformed, ""), ("&", .malformed, ""), ("a=1&", .malformed, ""),
        ("=", .malformed, ""), ("=1", .malformed, ""), ("a=%", .malformed, "a"),
        ("a=%zz", .malformed, "a"), ("%f=1", .malformed, "%f"), ("a=%FF", .malformed, "a"),
        ("%FF=1", .malformed, "%FF"), ("ok=1&b=%C3", .malformed, "b"),
    ])
    func `a bad query is refused`(raw: String, code: QueryError.Code, parameter: String) {
        let error = #expect(throws: QueryError.self) { try Query(raw.utf8) }
        #expect(error?.code == code)
        #expect(error?.parameter == parameter)
    }

    @Test func `a parameter that comes twice among thousands is refused`() throws {
        let raw = (0..<20_000).map { "p\($0)=\($0)" }.joined(separator: "&")
        #expect(try Query(raw.utf8).parameters.count == 20_000)
        #expect(throws: QueryError.self) { try Query((raw + "&p4711=1").utf8) }
    }

    @Test func `parameters of every kind are read`() throws {
        var query = try QueryReader("s=x&i=007&t=true&f=false&c=hex&k=b&e=")
        #expect(query.string("s") == "x")
        #expect(try query.requiredInt("i") == 7)
        #expect(try query.bool("t") == true)
        #expect(try query.bool("f") == false)
        #expect(try query.choice("c", as: Format.self) == .hex)
        #expect(try query.choice("k", of: ["a": 1, "b": 2]) == 2)
        #expect(try query.requiredString("e") == "")
        try query.finish()
    }

    @Test func `parameters that are left out read as nil`() throws {
        var query = try QueryReader("")
        #expect(query.string("x") == nil)
        #expect(try query.int("x") == nil)
        #expect(try query.bool("x") == nil)
        #expect(try query.choice("x", as: Format.self) == nil)
        #expect(try query.choice("x", of: ["a": 1]) == nil)
        let text = #expect(throws: QueryError.self) { try query.requiredString("x") }
        #expect(text?.code == .missingParameter)
        let number = #expect(throws: QueryError.self) { try query.requiredInt("x") }
        #expect(number?.code == .missingParameter)
    }

    @Test(arguments: [
        ("", QueryError.Code.invalidValue), ("-", .invalidValue), ("%2B5", .invalidValue),
        ("+5", .invalidValue), ("5.0", .invalidValue), ("1e3", .invalidValue),
        ("0x10", .invalidValue), ("5 ", .invalidValue), ("--5", .invalidValue),
        ("%D9%A3", .invalidValue), ("5%00", .invalidValue), ("-1", .outOfRange),
        ("-0", .outOfRange),
        ("9", .outOfRange), ("101", .outOfRange), ("9223372036854775808", .outOfRange),
        ("-99999999999999999999999", .outOfRange), ("99999999999999999999999", .outOfRange),
    ])
    func `a bad number is told apart`(raw: String, code: QueryError.Code) throws {
        var query = try QueryReader("wait_ms=\(raw)")
        let error = #expect(throws: QueryError.self) { try query.int("wait_ms", in: 10...100) }
        #expect(error?.code == code)
        #expect(error?.parameter == "wait_ms")
    }

    @Test func `numbers at the limits are allowed`() throws {
        var query = try QueryReader(
            "a=0&b=9223372036854775807&c=\(String(repeating: "0", count: 100_000))5")
        #expect(try query.int("a", in: 0...0) == 0)
        #expect(try query.int("b") == .max)
        #expect(try query.int("c") == 5)
    }

    @Test(arguments: ["", "1", "0", "True", "TRUE", "yes", "true ", "%00"])
    func `only true and false are booleans`(raw: String) throws {
        var query = try QueryReader("force=\(raw)")
        let error = #expect(throws: QueryError.self) { try query.bool("force") }
        #expect(error?.code == .invalidValue)
        #expect(error?.reason == "\"force\" has to be one of \"true\", \"false\".")
    }

    @Test func `a parameter nobody asked for is refused`() throws {
        var query = try QueryReader("wait_ms=1&wait=2")
        #expect(try query.int("wait_ms") == 1)
        let error = #expect(throws: QueryError.self) { try query.finish() }
        #expect(error?.code == .unknownParameter)
        #expect(error?.parameter == "wait")
        #expect(error?.reason == "Unknown parameter \"wait\"; known here: wait_ms.")
    }
}
