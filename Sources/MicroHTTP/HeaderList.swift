/// Where the headers of a request lie, noted in one pass over them; nothing is copied.
///
/// The bytes are libmicrohttpd's, and stay until the request is over.
@safe
struct HeaderList {
    @safe
    fileprivate struct Field {
        var name: UnsafeRawPointer?
        var value: UnsafeRawPointer?
        var nameByteCount = 0
        var valueByteCount = 0
    }

    /// Most requests have fewer: they cost no allocation.
    private static let capacity = 16

    private var first = InlineArray<16, Field>(repeating: Field())
    private var rest: [Field] = []
    private var count = 0

    mutating func append(_ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) {
        let field = unsafe Field(
            name: name.baseAddress, value: value.baseAddress, nameByteCount: name.count,
            valueByteCount: value.count)
        if count < Self.capacity {
            first[count] = field
        } else {
            rest.append(field)
        }
        count += 1
    }

    /// The bytes of the first header of a name, or nil if there is none.
    func first(_ name: StaticString) -> UnsafeRawBufferPointer? {
        let fields = first.span  // an element of the array itself would be had by a copy of it all
        for index in 0..<min(count, Self.capacity) where fields[index].isNamed(name) {
            return unsafe fields[index].bytes
        }
        return unsafe rest.first { $0.isNamed(name) }?.bytes
    }

    /// How many headers of a name there are.
    func count(_ name: StaticString) -> Int {
        var found = rest.isEmpty ? 0 : rest.count { $0.isNamed(name) }
        let fields = first.span
        for index in 0..<min(count, Self.capacity) where fields[index].isNamed(name) { found += 1 }
        return found
    }

    /// Copies the values of a name.
    func all(_ name: StaticString) -> [String] {
        var values: [String] = []
        func add(_ field: Field) {
            guard field.isNamed(name) else { return }
            values.append(unsafe String(decoding: field.bytes, as: UTF8.self))
        }
        for index in 0..<min(count, Self.capacity) { add(first[index]) }
        for field in rest { add(field) }
        return values
    }
}

extension HeaderList.Field {
    fileprivate var bytes: UnsafeRawBufferPointer {
        unsafe UnsafeRawBufferPointer(start: value, count: valueByteCount)
    }

    fileprivate func isNamed(_ word: StaticString) -> Bool {
        guard nameByteCount == word.utf8CodeUnitCount else { return false }
        return unsafe UnsafeRawBufferPointer(start: name, count: nameByteCount)
            .isSameIgnoringCase(as: word)
    }
}

extension UnsafeRawBufferPointer {
    /// Whether the bytes are those of `word` but for the case of ASCII letters.
    func isSameIgnoringCase(as word: StaticString) -> Bool {
        guard count == word.utf8CodeUnitCount else { return false }
        for index in 0..<count {
            guard unsafe self[index].lowercasedASCII == word.utf8Start[index].lowercasedASCII
            else { return false }
        }
        return true
    }
}

extension UInt8 {
    fileprivate var lowercasedASCII: UInt8 {
        (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(self) ? self | 0x20 : self
    }
}
