import SegmentAPI
import Testing

struct JSONNumberTests {
    @Test(arguments: [
        ("0", 0), ("-0", 0), ("0.000", 0), ("-0.0e-5", 0), ("0e999999999", 0),
        ("0e-99999999999999999999999", 0), ("4096", 4096), ("4096.0", 4096), ("1e3", 1000),
        ("1E+3", 1000), ("4.096e3", 4096), ("0.0001e4", 1), ("10000e-4", 1), ("-1.50e1", -15),
        ("1000000e-6", 1), ("100.00e-2", 1), ("9223372036854775807", .max),
        ("-9223372036854775808", .min), ("9223372036854775807.000", .max),
        ("922337203685477580700e-2", .max), ("0.9223372036854775807e19", .max),
        ("-0.9223372036854775808e19", .min), ("90071992547409930e-1", 9_007_199_254_740_993),
    ])
    func `a whole number is exact however it is written`(text: String, value: Int) throws {
        let number = try #require(JSONNumber(text))
        #expect(number.isWhole)
        #expect(number.exactInt == value)
        #expect(number.text == text)
    }

    @Test(arguments: [
        "9223372036854775808", "-9223372036854775809", "1e19", "1e999999999",
        "-1e99999999999999999999", "10e9223372036854775807", "18446744073709551616",
        "12345678901234567890123456789012345678901234567890",
    ])
    func `a whole number too large for an integer is whole all the same`(text: String) throws {
        let number = try #require(JSONNumber(text))
        #expect(number.isWhole)
        #expect(number.exactInt == nil)
    }

    @Test(arguments: [
        "0.5", "-0.1", "4096.5", "1e-1", "1e-999999999", "12345e-3", "1.00000000000000000000001",
        "1.5e0", "9007199254740993.5", "1e-99999999999999999999999",
    ])
    func `a fraction is not whole`(text: String) throws {
        let number = try #require(JSONNumber(text))
        #expect(!number.isWhole)
        #expect(number.exactInt == nil)
    }

    @Test(arguments: [
        "", "-", "01", "1.", ".1", "1e", "1e+", "+1", " 1", "1 ", "NaN", "0x1", "1,0",
    ])
    func `other texts are no numbers`(text: String) {
        #expect(JSONNumber(text) == nil)
    }

    @Test func `integers of other widths have their own limits`() throws {
        let most = try #require(JSONNumber("18446744073709551615"))
        #expect(most.exactly(UInt64.self) == .max)
        #expect(most.exactly(Int64.self) == nil)
        #expect(try #require(JSONNumber("255.0")).exactly(UInt8.self) == 255)
        #expect(try #require(JSONNumber("256")).exactly(UInt8.self) == nil)
        #expect(try #require(JSONNumber("-128")).exactly(Int8.self) == -128)
        #expect(try #require(JSONNumber("-129")).exactly(Int8.self) == nil)
        #expect(try #require(JSONNumber("-1")).exactly(UInt64.self) == nil)
        #expect(try #require(JSONNumber("-0")).exactly(UInt64.self) == 0)
    }

    @Test func `a million digits take no time and trap nothing`() throws {
        let digits = String(repeating: "7", count: 1_000_000)
        let zeros = String(repeating: "0", count: 1_000_000)
        #expect(try #require(JSONNumber(digits)).exactInt == nil)
        #expect(try #require(JSONNumber("1e" + digits)).exactInt == nil)
        #expect(try #require(JSONNumber("1e-" + digits)).isWhole == false)
        #expect(try #require(JSONNumber("1" + zeros + "e-1000000")).exactInt == 1)
        #expect(try #require(JSONNumber("0." + zeros + "1e1000001")).exactInt == 1)
        #expect(try #require(JSONNumber("7." + zeros)).exactInt == 7)
    }
}
