internal import Glibc

/// A request target as it was sent, split at the first question mark.
///
/// Most targets are short: they are kept in place, so that none costs an allocation of its own.
@safe
@usableFromInline
struct Target {
    @usableFromInline static var capacity: Int { 128 }

    @usableFromInline let short: InlineArray<128, UInt8>
    @usableFromInline let long: [UInt8]
    @usableFromInline let byteCount: Int
    @usableFromInline let pathByteCount: Int
    let isAbsolutePath: Bool
    let hasSpace: Bool

    init(_ text: UnsafePointer<CChar>?) {
        let byteCount = unsafe text.map { unsafe strlen($0) } ?? 0
        let bytes = unsafe UnsafeRawBufferPointer(start: text, count: byteCount)
        self.byteCount = byteCount
        isAbsolutePath = unsafe bytes.first == UInt8(ascii: "/")
        unsafe hasSpace = bytes.firstOffset(of: UInt8(ascii: " ")) != nil
        pathByteCount = unsafe bytes.firstOffset(of: UInt8(ascii: "?")) ?? byteCount
        // Filled before it is put in its place, where only all of this could be changed.
        var short = InlineArray<128, UInt8>(repeating: 0)
        if byteCount <= Target.capacity {
            unsafe withUnsafeMutableBytes(of: &short) { unsafe $0.copyMemory(from: bytes) }
            long = []
        } else {
            unsafe long = Array(bytes)
        }
        self.short = short
    }

    var path: String { text(0..<pathByteCount) }

    var query: String? { pathByteCount < byteCount ? text(pathByteCount + 1..<byteCount) : nil }

    var hasQuery: Bool { pathByteCount < byteCount }

    @inlinable
    func withPath<Result, Failure: Error>(
        _ body: (Span<UInt8>) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try withBytes { bytes throws(Failure) in try body(bytes.extracting(0..<pathByteCount)) }
    }

    @inlinable
    func withQuery<Result, Failure: Error>(
        _ body: (Span<UInt8>?) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        guard pathByteCount < byteCount else { return try body(nil) }
        return try withBytes { bytes throws(Failure) in
            try body(bytes.extracting(pathByteCount + 1..<byteCount))
        }
    }

    private func text(_ range: Range<Int>) -> String {
        withBytes { bytes in
            unsafe bytes.extracting(range).withUnsafeBufferPointer {
                unsafe String(decoding: $0, as: UTF8.self)
            }
        }
    }

    @inlinable
    func withBytes<Result, Failure: Error>(
        _ body: (Span<UInt8>) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        guard byteCount > Target.capacity else {
            return try body(short.span.extracting(0..<byteCount))
        }
        return try body(long.span)
    }
}

extension UnsafeRawBufferPointer {
    /// Where a byte first occurs.
    fileprivate func firstOffset(of byte: UInt8) -> Int? {
        guard let start = baseAddress, let found = unsafe memchr(start, CInt(byte), count) else {
            return nil
        }
        return unsafe UnsafeRawPointer(found) - start
    }
}
