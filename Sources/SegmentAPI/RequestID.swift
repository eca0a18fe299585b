/// The number of a request, unlike that of any other of this run of the server, and of most runs.
///
/// Its text, a random number of the run and a count, is made only where somebody wants to read it.
public struct RequestID: Sendable, CustomStringConvertible {
    let run: UInt32
    let count: UInt64

    /// Appends the text.
    package func append(to output: inout [UInt8]) {
        output.appendHex(UInt64(run))
        output.append(UInt8(ascii: "-"))
        output.appendHex(count)
    }

    /// Two numbers in hexadecimal digits.
    public var description: String {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(25)
        append(to: &bytes)
        return String(decoding: bytes, as: UTF8.self)
    }
}
