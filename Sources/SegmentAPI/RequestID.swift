/// The number of a request, unlike that of any other of this run of the server, and of most runs.
///
/// Its text, a random number of the run and a count, is made only where somebody wants to read it.
public struct RequestID: Sendable, CustomStringConvertible {
    let run: UInt32
    let count: UInt64

    /// Appends the text.
    package func append(to output: inout [UInt8]) {
        text.append(to: &output)
    }

    private var text: ShortText {
        ShortText {
            $0.append(hexadecimal: UInt64(run))
            $0.append(UInt8(ascii: "-"))
            $0.append(hexadecimal: count)
        }
    }

    /// Two numbers in hexadecimal digits.
    public var description: String { text.string }
}
