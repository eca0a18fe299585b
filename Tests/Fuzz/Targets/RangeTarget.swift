import SegmentAPI

/// A `Range` or `Content-Range` field, for something of a size that the first byte says.
enum RangeTarget {
    @Sendable static func check(_ input: [UInt8]) {
        guard let first = input.first else { return }
        let byteCount = first == 255 ? Int.max : Int(first)
        let field = String(decoding: input.dropFirst(), as: UTF8.self)
        checkRange(field, byteCount)
        checkContentRange(field)
        if case .part(let part) = ByteRange(field).resolve(byteCount: byteCount) {
            let answer = try? ContentRange(ContentRange.field(part, of: byteCount))
            require(answer?.bytes == part && answer?.completeByteCount == byteCount, "reads back")
        }
    }

    private static func checkRange(_ field: String, _ byteCount: Int) {
        let range = ByteRange(field)
        let specs = naiveSpecs(field)
        switch specs?.count {
        case nil: require(range == .none, "malformed is as good as absent")
        case 1: require(range != .none && range != .several, "one part")
        default: require(range == .several, "several parts")
        }
        let window = range.resolve(byteCount: byteCount)
        guard let spec = specs?.first, specs?.count == 1 else {
            return require(window == .whole, "the whole")
        }
        let last = byteCount - 1
        let (from, through) =
            switch spec {
            case (let first?, let end): (first, min(end ?? .max, last))
            case (nil, let count): (max(0, byteCount - (count ?? 0)), last)
            }
        if spec.first == nil, byteCount == 0, spec.second ?? 0 > 0 {
            require(window == .whole, "the end of nothing is all of it")
        } else if from > through {
            require(window == .unsatisfiable, "\(from) to \(through) of \(byteCount) is nothing")
        } else {
            require(window == .part(from..<through + 1), "\(window) of \(byteCount)")
        }
    }

    /// Splits the field at its commas and dashes; nil when it is no range of bytes.
    private static func naiveSpecs(_ field: String) -> [(first: Int?, second: Int?)]? {
        let bytes = trimmed(Array(field.utf8)[...])
        guard bytes.count >= 6,
            String(decoding: bytes.prefix(6), as: UTF8.self).lowercased() == "bytes="
        else { return nil }
        var specs: [(first: Int?, second: Int?)] = []
        let elements = bytes.dropFirst(6)
            .split(separator: UInt8(ascii: ","), omittingEmptySubsequences: false)
        for element in elements.map(trimmed) where !element.isEmpty {
            let halves = element.split(
                separator: UInt8(ascii: "-"), omittingEmptySubsequences: false)
            guard halves.count == 2, let first = number(halves[0]), let second = number(halves[1]),
                !halves.allSatisfy(\.isEmpty), first ?? 0 <= second ?? .max || halves[0].isEmpty
            else { return nil }
            specs.append((first, second))
        }
        return specs.isEmpty ? nil : specs
    }

    private static func checkContentRange(_ field: String) {
        let bytes = trimmed(Array(field.utf8)[...])
        var expected: (Int, Int, Int?)?
        let unit = String(decoding: bytes.prefix(6), as: UTF8.self).lowercased()
        let halves = bytes.dropFirst(6)
            .split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
        if unit == "bytes ", halves.count == 2 {
            let ends = halves[0].split(
                separator: UInt8(ascii: "-"), omittingEmptySubsequences: false)
            if ends.count == 2, case .some(let first?) = number(ends[0]),
                case .some(let last?) = number(ends[1]), first <= last
            {
                if halves[1].elementsEqual("*".utf8) { expected = (first, last, nil) }
                if case .some(let size?) = number(halves[1], limit: .max), last < size {
                    expected = (first, last, size)
                }
            }
        }
        let found = try? ContentRange(field)
        require(found?.bytes.lowerBound == expected?.0, "begins in its place")
        require(found.map { $0.bytes.upperBound - 1 } == expected?.1, "ends in its place")
        require(found?.completeByteCount == expected?.2, "has the size it states")
    }

    private static func trimmed(_ bytes: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        let isBlank = { (byte: UInt8) in byte == 32 || byte == 9 }
        var bytes = bytes.drop(while: isBlank)
        while let last = bytes.last, isBlank(last) { bytes.removeLast() }
        return bytes
    }

    /// A number that ends at the largest one there is room for; nil within for nothing at all, nil
    /// for anything else than digits.
    private static func number(_ digits: ArraySlice<UInt8>, limit: Int = .max - 1) -> Int?? {
        guard digits.allSatisfy({ (48...57).contains($0) }) else { return nil }
        guard !digits.isEmpty else { return .some(nil) }
        return .some(min(Int(String(decoding: digits, as: UTF8.self)) ?? limit, limit))
    }
}
