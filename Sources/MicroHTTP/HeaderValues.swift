internal import Glibc

/// The values of the headers that a ``ResponseTemplate`` leaves open, in its order.
///
/// They lie side by side in a place of fixed size, so that they cost no allocation.
@safe
public struct HeaderValues: Sendable {
    /// How many bytes there is room for in all, counting one more for each value.
    public static let byteLimit = 120

    /// How many values there may be.
    public static let countLimit = 4

    // Each value is followed by a zero, as C wants it.
    private var bytes = InlineArray<120, UInt8>(repeating: 0)
    private var ends = InlineArray<4, UInt8>(repeating: 0)

    /// How many values there are.
    public private(set) var count = 0

    /// No value.
    public init() {}

    /// Appends a value.
    ///
    /// One with a line break in it is not sent.
    ///
    /// - Parameter write: Writes it, in no more than there is room for.
    public mutating func append(_ write: (inout OutputSpan<UInt8>) -> Void) {
        precondition(count < Self.countLimit, "a template leaves no more open")
        let start = self.start(count)
        let written = unsafe withUnsafeMutableBytes(of: &bytes) { bytes in
            let room = unsafe UnsafeMutableRawBufferPointer(
                rebasing: bytes[start..<bytes.count - 1]
            ).bindMemory(to: UInt8.self)
            var output = unsafe OutputSpan(buffer: room, initializedCount: 0)
            write(&output)
            return unsafe output.finalize(for: room)
        }
        ends[count] = UInt8(start + written)
        count += 1
    }

    /// Lends a value, followed by a zero.
    func withCString<Result>(_ place: Int, _ body: (UnsafePointer<CChar>) -> Result) -> Result {
        unsafe withUnsafeBytes(of: bytes) { bytes in
            guard let base = bytes.baseAddress else { preconditionFailure("it has a place") }
            return unsafe body((base + start(place)).assumingMemoryBound(to: CChar.self))
        }
    }

    /// Whether a value is the same as another's.
    func isSame(as other: HeaderValues, _ place: Int) -> Bool {
        unsafe withCString(place) { value in
            unsafe other.withCString(place) { unsafe strcmp(value, $0) == 0 }
        }
    }

    /// A value as a text.
    func text(_ place: Int) -> String {
        unsafe withCString(place) { unsafe String(cString: $0) }
    }

    private func start(_ place: Int) -> Int { place == 0 ? 0 : Int(ends[place - 1]) + 1 }
}
