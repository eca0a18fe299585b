import Foundation
import SegmentAPI

/// A JSON text: Foundation has to understand the same by it, and by what we write of it.
enum JSONTarget {
    @Sendable static func check(_ input: [UInt8]) {
        let value: JSONValue
        do throws(JSONError) { value = try JSONParser.parse(input) } catch {
            return checkRefusal(error, of: input)
        }
        require(JSONGrammar.accepts(input), "what is no JSON is refused")
        let written = JSONWriter.text(of: value)
        require((try? JSONParser.parse(written)) == value, "what is written reads the same")
        checkNumbers(in: value)
        checkReader(of: value)
        // Foundation refuses some numbers that a double cannot hold.
        guard let theirs = foundation(written) else { return require(hasWideNumber(value), "read") }
        guard let again = foundation(input) else { return require(false, "Foundation refuses it") }
        require(theirs.isEqual(again), "Foundation reads what we write as what we read")
    }

    private static func checkRefusal(_ error: JSONError, of input: [UInt8]) {
        require(
            error.pointer.isEmpty || error.pointer.utf8.first == UInt8(ascii: "/"), "a JSON pointer"
        )
        if let offset = error.offset { require(0...input.count ~= offset, "an offset inside") }
        // Foundation is no judge of this: it forgives commas too many, and guesses encodings.
        if error.code == .malformed { require(!JSONGrammar.accepts(input), "refused: \(error)") }
    }

    private static func foundation(_ text: [UInt8]) -> NSObject? {
        let value = try? JSONSerialization.jsonObject(with: Data(text), options: .fragmentsAllowed)
        return value as? NSObject
    }

    private static func numbers(in value: JSONValue) -> [JSONNumber] {
        switch value {
        case .number(let number): [number]
        case .array(let elements): elements.flatMap(numbers(in:))
        case .object(let object): object.members.flatMap { numbers(in: $0.value) }
        case .null, .bool, .string: []
        }
    }

    private static func hasWideNumber(_ value: JSONValue) -> Bool {
        numbers(in: value).contains { Double($0.text)?.isFinite != true }
    }

    private static func checkNumbers(in value: JSONValue) {
        for number in numbers(in: value) {
            guard let integer = WrittenNumber(number.text).integer else { continue }
            require(number.isWhole == (integer != nil), "\(number.text) is whole, or not")
            guard let integer else { continue }
            require(number.exactInt == Int(integer), "\(number.text) is \(integer)")
            require(number.exactly(UInt64.self) == UInt64(integer), "\(number.text) as UInt64")
            require(number.exactly(Int8.self) == Int8(integer), "\(number.text) as Int8")
        }
    }

    /// Every way of reading a member gives a value or an error that names the member.
    private static func checkReader(of value: JSONValue) {
        guard case .object(let object) = value, var reader = try? ObjectReader(value) else {
            return
        }
        for member in object.members {
            let pointer = reader.pointer(to: member.name)
            expect(pointer) { () throws(JSONError) in try reader.string(member.name) }
            expect(pointer) { () throws(JSONError) in try reader.bool(member.name) }
            expect(pointer) { () throws(JSONError) in try reader.int(member.name, in: -5...4096) }
            expect(pointer) { () throws(JSONError) in
                try reader.wideInteger(member.name, as: UInt64.self)
            }
            expect(pointer) { () throws(JSONError) in
                try reader.choice(member.name, of: ["fail": 1, "attach": 2])
            }
            expect(pointer) { () throws(JSONError) in try reader.base64(member.name) }
            expect(pointer) { () throws(JSONError) in try reader.object(member.name) }
            expect(pointer) { () throws(JSONError) in try reader.objects(member.name) }
        }
        require((try? reader.finish()) != nil, "every member has been asked for")
    }

    private static func expect<Value>(
        _ pointer: String, _ read: () throws(JSONError) -> Value?
    ) {
        do throws(JSONError) {
            require(try read() != nil, "a member that is there is read")
        } catch { require(error.pointer.utf8.starts(with: pointer.utf8), "\(error.pointer)") }
    }
}

/// A JSON number as a schoolbook reads it: by moving the point in the text.
private struct WrittenNumber {
    /// The digits of the whole number; nil within when it has a fraction, nil when it is too far out.
    let integer: String??

    init(_ text: String) {
        let parts = text.lowercased().split(separator: "e")
        let exponent = parts.count > 1 ? Int(parts[1]) : 0
        guard let exponent, abs(exponent) < 200 else {
            integer = nil
            return
        }
        let isNegative = parts[0].hasPrefix("-")
        let halves = parts[0].drop { $0 == "-" }
            .split(separator: ".", omittingEmptySubsequences: false)
        var digits = Array(halves[0])
        var fraction = halves.count > 1 ? Array(halves[1]) : []
        if exponent >= 0 {
            fraction += Array(repeating: "0", count: max(0, exponent - fraction.count))
            digits += fraction.prefix(exponent)
            fraction.removeFirst(exponent)
        } else {
            digits = Array(repeating: "0", count: max(0, -exponent - digits.count)) + digits
            fraction = Array(digits.suffix(-exponent)) + fraction
            digits.removeLast(-exponent)
        }
        guard fraction.allSatisfy({ $0 == "0" }) else {
            integer = .some(nil)
            return
        }
        let whole = String(digits.drop { $0 == "0" })
        integer = .some(whole.isEmpty ? "0" : (isNegative ? "-" : "") + whole)
    }
}
