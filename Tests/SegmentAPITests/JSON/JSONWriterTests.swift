import Foundation
import SegmentAPI
import Testing

/// What a writer wrote, as a string.
func written(_ body: (inout JSONWriter) -> Void) -> String {
    var writer = JSONWriter()
    body(&writer)
    return String(decoding: writer.bytes, as: UTF8.self)
}

struct JSONWriterTests {
    @Test func `members and elements are separated by commas`() {
        let nothing: Int? = nil
        let text = written {
            $0.object {
                $0.member("a", 1)
                $0.member("b", ifPresent: nothing)
                $0.member("c", orNull: nothing)
                $0.member("d", ifPresent: "x")
                $0.member("e") { $0.object { _ in } }
                $0.member("f") { $0.array { _ in } }
                $0.member("g") {
                    $0.array {
                        $0.value(true)
                        $0.object { $0.member("h", false) }
                        $0.null()
                        $0.array { $0.value(-1) }
                    }
                }
                $0.member("i", ["x", "y"])
                $0.member("j", base64: [1, 2, 3, 4].span)
                $0.member("k", orNull: 5)
            }
        }
        #expect(
            text == """
                {"a":1,"c":null,"d":"x","e":{},"f":[],"g":[true,{"h":false},null,[-1]],\
                "i":["x","y"],"j":"AQIDBA==","k":5}
                """
        )
    }

    @Test func `integers of every width are written whole`() {
        let text = written {
            $0.array {
                $0.value(Int.min)
                $0.value(Int.max)
                $0.value(UInt64.max)
                $0.value(Int32.min)
                $0.value(UInt8.max)
                $0.value(0)
                $0.integer(Int128.min)
            }
        }
        #expect(
            text == """
                [-9223372036854775808,9223372036854775807,18446744073709551615,-2147483648,255,0,\
                -170141183460469231731687303715884105728]
                """
        )
    }

    @Test func `integers beyond a double are strings where that is asked for`() {
        let limit: UInt64 = 1 << 53
        let text = written {
            $0.object {
                $0.member("a", wide: limit)
                $0.member("b", wide: limit + 1)
                $0.member("c", wide: -Int64(limit))
                $0.member("d", wide: Int64.min)
                $0.member("e", wide: UInt8(7))
            }
        }
        #expect(
            text == """
                {"a":9007199254740992,"b":"9007199254740993","c":-9007199254740992,\
                "d":"-9223372036854775808","e":7}
                """
        )
    }

    @Test func `only what has to be escaped is`() {
        let text = written { $0.string("\u{0}\u{1}\u{8}\t\n\u{B}\u{C}\r\u{1F} \"\\/é😀\u{7F}") }
        #expect(text == #""\u0000\u0001\b\t\n\u000b\f\r\u001f \"\\/é😀\#u{7F}""#)
    }

    @Test func `a text can be appended to bytes that are there`() {
        var writer = JSONWriter(appendingTo: Array("data: ".utf8))
        writer.value("x")
        #expect(writer.bytes == Array(#"data: "x""#.utf8))
    }

    @Test func `random values survive the way out and back`() throws {
        var random = SeededGenerator(seed: 1)
        for _ in 0..<2000 {
            let value = randomValue(depth: 0, &random)
            let text = JSONWriter.text(of: value)
            #expect(try JSONParser.parse(text) == value)
            _ = try JSONSerialization.jsonObject(with: Data(text), options: .fragmentsAllowed)
        }
    }

    private func randomValue(depth: Int, _ random: inout SeededGenerator) -> JSONValue {
        switch Int.random(in: 0..<(depth < 5 ? 7 : 5), using: &random) {
        case 0: return .null
        case 1: return .bool(.random(using: &random))
        case 2:
            return JSONNumber("\(Int.random(in: .min ... .max, using: &random))").map {
                .number($0)
            } ?? .null
        case 3:
            return JSONNumber("\(Int.random(in: -9...9, using: &random)).250e-7").map {
                .number($0)
            } ?? .null
        case 4: return .string(randomText(&random))
        case 5:
            let count = Int.random(in: 0..<4, using: &random)
            return .array((0..<count).map { _ in randomValue(depth: depth + 1, &random) })
        default:
            let count = Int.random(in: 0..<20, using: &random)
            return .object(
                JSONObject(
                    (0..<count).map { index in
                        JSONObject.Member(
                            name: "\(index)" + randomText(&random),
                            value: randomValue(depth: depth + 1, &random)
                        )
                    }
                )
            )
        }
    }
}
