/// The number of a request, unlike that of any other of this run of the server, and of most runs.
public struct RequestID: Sendable, CustomStringConvertible {
    // Made once, for the answer and the log both want it.
    private var text = InlineArray<25, UInt8>(repeating: 0)
    private var count = 0

    /// How many bytes the text may have.
    package static let byteLimit = 25

    /// Makes the number of a request.
    ///
    /// - Parameters:
    ///   - run: A random number of the run.
    ///   - number: A count of its requests.
    init(run: UInt32, number: UInt64) {
        append(UInt64(run))
        text[count] = UInt8(ascii: "-")
        count += 1
        append(number)
    }

    private mutating func append(_ number: UInt64) {
        let digitCount = max((67 - number.leadingZeroBitCount) / 4, 1)
        var rest = number
        for place in stride(from: count + digitCount - 1, through: count, by: -1) {
            text[place] = UInt8(truncatingIfNeeded: rest).hexDigit
            rest >>= 4
        }
        count += digitCount
    }

    /// Appends the text.
    package func append(to output: inout OutputSpan<UInt8>) {
        output.append(copying: text.span.extracting(0..<count))
    }

    /// Two numbers in hexadecimal digits.
    public var description: String { text.span.extracting(0..<count).text }
}
