/// What W3C's `traceparent` says of a request: which trace it belongs to.
///
/// A field that is not as the recommendation has it is as good as none.
struct TraceContext: Sendable, Equatable {
    /// 32 lower-case hexadecimal digits, not all of them zero.
    let traceID: Substring
    /// 16 digits that stand for this server's part in the trace.
    let spanID: String
    /// Two digits; the last bit says whether the caller records the trace.
    let flags: Substring

    /// Reads a field, and makes up a number for this server's part.
    ///
    /// Fails unless the field has the form of version 00, or begins like it and is of a later one.
    init?(_ field: String, span: UInt64 = .random(in: 1 ... .max)) {
        let bytes = Array(field.utf8)
        guard bytes.count >= 55, bytes[2] == dash, bytes[35] == dash, bytes[52] == dash,
            (0..<55).allSatisfy({ [2, 35, 52].contains($0) || isLowerHex(bytes[$0]) })
        else { return nil }
        switch field.prefix(2) {
        case "00": guard bytes.count == 55 else { return nil }
        case "ff": return nil
        default: guard bytes.count == 55 || bytes[55] == dash else { return nil }
        }
        let parts = field.split(separator: "-", maxSplits: 4, omittingEmptySubsequences: false)
        guard parts[1].contains(where: { $0 != "0" }), parts[2].contains(where: { $0 != "0" })
        else { return nil }
        traceID = parts[1]
        flags = parts[3]
        let digits = String(span, radix: 16)
        spanID = String(repeating: "0", count: 16 - digits.utf8.count) + digits
    }

    /// The field for the answer: the same trace, and this server's part in it.
    ///
    /// Of the flags only those are passed on that are known here.
    var field: String { "00-\(traceID)-\(spanID)-\(isRecorded ? "01" : "00")" }

    private var isRecorded: Bool { UInt8(flags, radix: 16).map { $0 & 1 == 1 } ?? false }
}

private let dash = UInt8(ascii: "-")

private func isLowerHex(_ byte: UInt8) -> Bool {
    UInt8(ascii: "0")...UInt8(ascii: "9") ~= byte || UInt8(ascii: "a")...UInt8(ascii: "f") ~= byte
}
