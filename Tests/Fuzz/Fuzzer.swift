import Glibc

// What libFuzzer calls: it brings the main function, and tries one input after another.

/// Learns from the environment what parser the inputs are for.
///
/// Not from the arguments: libFuzzer starts itself anew with those it knows.
@c(LLVMFuzzerInitialize)
public func prepare(_ count: UnsafePointer<CInt>, _ arguments: UnsafeRawPointer) -> CInt {
    let name = getenv("FUZZ_TARGET").map { String(cString: $0) }
    guard let target = targets.first(where: { $0.name == name }) else {
        print("FUZZ_TARGET has to be one of: \(targets.map(\.name).joined(separator: " "))")
        exit(2)
    }
    chosen = target.check
    return 0
}

/// Tries one input.
@c(LLVMFuzzerTestOneInput)
public func check(_ data: UnsafePointer<UInt8>?, _ byteCount: Int) -> CInt {
    chosen?(Array(UnsafeBufferPointer(start: data, count: byteCount)))
    return 0
}

// Each parser, and what looks whether all that must hold of its outcome does.
private let targets: [(name: String, check: @Sendable ([UInt8]) -> Void)] = [
    ("json", JSONTarget.check), ("base64", Base64Target.check), ("key", KeyTarget.check),
    ("path", PathTarget.check), ("query", QueryTarget.check), ("range", RangeTarget.check),
    ("accept", AcceptTarget.check), ("dump", DumpTarget.check), ("http", HTTPTarget.check),
    ("state", StateTarget.check), ("token", TokenTarget.check),
]

// Set before the first input comes, by the one thread there is.
nonisolated(unsafe) private var chosen: (@Sendable ([UInt8]) -> Void)?

/// Ends the process, with the input kept by libFuzzer, unless the claim holds.
func require(
    _ claim: Bool, _ what: @autoclosure () -> String, file: StaticString = #file,
    line: UInt = #line
) {
    guard !claim else { return }
    fatalError("not true: \(what())", file: file, line: line)
}

extension String {
    /// Whether two texts are the same bytes, which `==` does not say.
    func isSame(as other: String) -> Bool { utf8.elementsEqual(other.utf8) }
}
