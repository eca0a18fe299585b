import SegmentAPI

/// One component of a path, as it was sent.
enum PathTarget {
    @Sendable static func check(_ input: [UInt8]) {
        let ours = try? PercentEncoding.decodePathComponent(input)
        let theirs = naive(input)
        require(ours == nil ? theirs == nil : theirs?.isSame(as: ours ?? "") == true, "the same")
        guard let text = String(validating: input, as: UTF8.self) else { return }
        let encoded = PercentEncoding.encodePathComponent(text)
        require(encoded != "." && encoded != "..", "a name, and no place")
        require(
            encoded.utf8.allSatisfy { "-._~%".utf8.contains($0) || $0.isAlphanumeric },
            "nothing that ends a component")
        let decoded = try? PercentEncoding.decodePathComponent(encoded.utf8)
        require(decoded?.isSame(as: text) == true, "there and back")
    }

    /// Decodes from the percent signs on: each begins a part whose first two characters are a byte.
    static func naive(_ bytes: [UInt8]) -> String? {
        let parts = bytes.split(separator: UInt8(ascii: "%"), omittingEmptySubsequences: false)
        var decoded = Array(parts[0])
        for part in parts.dropFirst() {
            let digits = String(decoding: part.prefix(2), as: UTF8.self)
            guard digits.utf8.count == 2, digits.allSatisfy(\.isHexDigit),
                let byte = UInt8(digits, radix: 16)
            else { return nil }
            decoded.append(byte)
            decoded += part.dropFirst(2)
        }
        return String(validating: decoded, as: UTF8.self)
    }
}

extension UInt8 {
    fileprivate var isAlphanumeric: Bool {
        switch Unicode.Scalar(self) {
        case "0"..."9", "A"..."Z", "a"..."z": true
        default: false
        }
    }
}
