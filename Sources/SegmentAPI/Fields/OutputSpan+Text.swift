/// Text that is written where it is wanted, without a string in between.
///
/// Whoever lends the room has made sure that there is enough.
extension OutputSpan where Element == UInt8 {
    /// Appends bytes.
    package mutating func append(copying bytes: Span<UInt8>) {
        precondition(bytes.count <= freeCapacity, "room was made for what is written")
        unsafe withUnsafeMutableBufferPointer { buffer, count in
            unsafe bytes.withUnsafeBufferPointer { bytes in
                guard let start = buffer.baseAddress, let source = bytes.baseAddress else { return }
                unsafe (start + count).update(from: source, count: bytes.count)
                count += bytes.count
            }
        }
    }

    /// Appends a text that is part of the program.
    package mutating func append(word text: StaticString) {
        unsafe append(
            copying: Span(_unsafeStart: text.utf8Start, count: text.utf8CodeUnitCount))
    }

    /// Appends a text in UTF-8.
    package mutating func append(_ text: String) { append(copying: text.utf8.span) }

    /// Appends a number in decimal digits, of which there are at most 20.
    package mutating func append(decimal value: UInt64) {
        var width = 1
        var bound: UInt64 = 10
        while value >= bound, width < 20 {
            width += 1
            let (next, isTooLarge) = bound.multipliedReportingOverflow(by: 10)
            bound = isTooLarge ? .max : next
        }
        append(decimal: value, width: width)
    }

    /// Appends a number in exactly `width` decimal digits, at most 20.
    ///
    /// Digits that do not fit are left out from the left.
    package mutating func append(decimal value: UInt64, width: Int) {
        precondition(width <= freeCapacity, "room was made for what is written")
        unsafe withUnsafeMutableBufferPointer { buffer, count in
            var rest = value
            var place = count + width
            // Two digits a step, for each step waits for the one before.
            while place >= count + 2 {
                let pair = UInt8(truncatingIfNeeded: rest % 100)
                rest /= 100
                place -= 2
                unsafe buffer[place] = pair / 10 + UInt8(ascii: "0")
                unsafe buffer[place + 1] = pair % 10 + UInt8(ascii: "0")
            }
            if place > count {
                unsafe buffer[count] = UInt8(truncatingIfNeeded: rest % 10) + UInt8(ascii: "0")
            }
            count += width
        }
    }
}
