/// A writer of the canonical hexadecimal dump, as of `hexdump -C`.
///
/// The bytes come in pieces of any size; what belongs to one line waits inside until the line is
/// full. Lines that repeat the one before are squeezed into a single `*`.
package struct HexDumper: Sendable {
    /// Sixteen bytes, or fewer in the last line, the first one in the lowest place.
    private struct Line: Equatable {
        var low: UInt64 = 0
        var high: UInt64 = 0

        subscript(index: Int) -> UInt8 {
            let word = index < 8 ? low : high
            return UInt8(truncatingIfNeeded: word >> UInt64(index % 8 * 8))
        }

        mutating func set(_ byte: UInt8, at index: Int) {
            let bits = UInt64(byte) << UInt64(index % 8 * 8)
            if index < 8 { low |= bits } else { high |= bits }
        }
    }

    /// Where the line that is being filled begins.
    private var offset: UInt64
    private var line = Line()
    private var lineCount = 0
    private var previous: Line?
    private var isSqueezing = false

    /// Makes a dumper whose first byte lies at an offset, as with `hexdump -C -s`.
    package init(offset: UInt64 = 0) {
        self.offset = offset
    }

    /// Appends the lines that the next bytes complete.
    package mutating func append(_ bytes: Span<UInt8>, to output: inout [UInt8]) {
        var index = 0
        while lineCount > 0 && index < bytes.count {
            take(bytes[index], &output)
            index += 1
        }
        while bytes.count - index >= 16 {
            var low: UInt64 = 0
            var high: UInt64 = 0
            for byte in 0..<8 {
                low |= UInt64(bytes[index + byte]) << UInt64(byte * 8)
                high |= UInt64(bytes[index + 8 + byte]) << UInt64(byte * 8)
            }
            line = Line(low: low, high: high)
            endLine(&output)
            index += 16
        }
        while index < bytes.count {
            take(bytes[index], &output)
            index += 1
        }
    }

    /// Appends the last line, which may be short, and the offset of the end.
    ///
    /// As with `hexdump`, nothing at all comes of no bytes at offset zero.
    package mutating func finish(_ output: inout [UInt8]) {
        // A short line is never squeezed, not even one that looks like the line before.
        if lineCount > 0 { appendLine(to: &output) }
        offset &+= UInt64(lineCount)
        lineCount = 0
        guard offset > 0 else { return }
        let offset = offset
        output.append(addingCapacity: 17) { text in
            text.appendOffset(offset)
            text.append(UInt8(ascii: "\n"))
        }
    }

    private mutating func take(_ byte: UInt8, _ output: inout [UInt8]) {
        line.set(byte, at: lineCount)
        lineCount += 1
        if lineCount == 16 { endLine(&output) }
    }

    private mutating func endLine(_ output: inout [UInt8]) {
        if line != previous {
            lineCount = 16
            appendLine(to: &output)
            previous = line
            isSqueezing = false
        } else if !isSqueezing {
            output.append(UInt8(ascii: "*"))
            output.append(UInt8(ascii: "\n"))
            isSqueezing = true
        }
        offset &+= 16
        line = Line()
        lineCount = 0
    }

    private func appendLine(to output: inout [UInt8]) {
        let (offset, line, count) = (offset, line, lineCount)
        output.append(addingCapacity: 90) { text in
            text.appendOffset(offset)
            text.append(UInt8(ascii: " "))
            for index in 0..<16 {
                text.append(UInt8(ascii: " "))
                if index == 8 { text.append(UInt8(ascii: " ")) }
                text.append(index < count ? (line[index] >> 4).hexDigit : UInt8(ascii: " "))
                text.append(index < count ? line[index].hexDigit : UInt8(ascii: " "))
            }
            text.append(UInt8(ascii: " "))
            text.append(UInt8(ascii: " "))
            text.append(UInt8(ascii: "|"))
            for index in 0..<count {
                let isPrintable = 0x20...0x7E ~= line[index]
                text.append(isPrintable ? line[index] : UInt8(ascii: "."))
            }
            text.append(UInt8(ascii: "|"))
            text.append(UInt8(ascii: "\n"))
        }
    }
}

extension OutputSpan<UInt8> {
    /// Appends an offset in eight hexadecimal digits, or in more when it needs them.
    fileprivate mutating func appendOffset(_ offset: UInt64) {
        let digits = max(8, (67 - offset.leadingZeroBitCount) / 4)
        for place in stride(from: (digits - 1) * 4, through: 0, by: -4) {
            append(UInt8(truncatingIfNeeded: offset >> UInt64(place)).hexDigit)
        }
    }
}
