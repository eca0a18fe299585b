/// A text of at most 64 ASCII characters that is put together without an allocation.
struct ShortText {
    private var storage = InlineArray<64, UInt8>(repeating: 0)
    private var count = 0

    init(_ write: (inout ShortText) -> Void) { write(&self) }

    /// Appends the bytes to others.
    func append(to output: inout [UInt8]) {
        output.append(copying: storage.span.extracting(0..<count))
    }

    /// The text as a string.
    var string: String { storage.span.extracting(0..<count).validText ?? "" }

    mutating func append(_ byte: UInt8) {
        var bytes = storage.mutableSpan
        bytes[count] = byte
        count += 1
    }

    mutating func append(decimal value: UInt64) { append(value, base: 10) }

    mutating func append(hexadecimal value: UInt64) { append(value, base: 16) }

    // Inlined, so that the divisions are by constants.
    @inline(__always)
    private mutating func append(_ value: UInt64, base: UInt64) {
        var end = 1
        var rest = value / base
        while rest > 0 {
            end += 1
            rest /= base
        }
        rest = value
        var bytes = storage.mutableSpan
        for place in stride(from: count + end - 1, through: count, by: -1) {
            bytes[place] = UInt8(truncatingIfNeeded: rest % base).hexDigit
            rest /= base
        }
        count += end
    }
}
