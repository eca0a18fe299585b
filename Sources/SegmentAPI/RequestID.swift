/// The number of a request, unlike that of any other of this run of the server, and of most runs.
///
/// Its text, a random number of the run and a count, is made only where somebody wants to read it.
public struct RequestID: Sendable, CustomStringConvertible {
    let run: UInt32
    let count: UInt64

    /// How many bytes the text may have.
    package static let byteLimit = 25

    /// Appends the text.
    package func append(to output: inout OutputSpan<UInt8>) {
        output.append(hexadecimal: UInt64(run))
        output.append(UInt8(ascii: "-"))
        output.append(hexadecimal: count)
    }

    /// Two numbers in hexadecimal digits.
    public var description: String {
        var text: [UInt8] = []
        text.append(addingCapacity: Self.byteLimit) { append(to: &$0) }
        return String(decoding: text, as: UTF8.self)
    }
}
