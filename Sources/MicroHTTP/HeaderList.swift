internal import CMicroHTTPD

/// Where the headers of a connection's request lie, noted in one pass over them; nothing is copied.
///
/// The bytes are libmicrohttpd's, and stay until the request is over. The list itself serves one
/// request after another, so that none of them has to allocate one.
@safe
final class HeaderList {
    @safe
    fileprivate struct Field {
        let mark: HeaderMark
        let name: UnsafeRawBufferPointer
        let value: UnsafeRawBufferPointer
    }

    /// How many there is room for from the start, which most requests are content with.
    private static let spareCount = 12

    // Not an array, whose every use would be checked for another one at the same time.
    private var base = UnsafeMutablePointer<Field>.allocate(capacity: spareCount)
    private var capacity = spareCount
    private(set) var count = 0
    /// The bits of all marks: a name whose bit is missing was not sent.
    private var bits: UInt64 = 0

    deinit { unsafe base.deallocate() }

    /// Takes note of every header of a connection's request, in the place of those of the one before.
    func read(_ connection: OpaquePointer?) {
        count = 0
        bits = 0
        _ = unsafe MHD_get_connection_values_n(
            connection, .HEADER_KIND, noteHeader, Unmanaged.passUnretained(self).toOpaque())
    }

    /// The name of one of them, as it was sent.
    func name(_ index: Int) -> UnsafeRawBufferPointer { unsafe field(index).name }

    /// The value of one of them.
    func value(_ index: Int) -> UnsafeRawBufferPointer { unsafe field(index).value }

    private func field(_ index: Int) -> Field {
        precondition(index >= 0 && index < count)
        return unsafe base[index]
    }

    fileprivate func append(_ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) {
        if count == capacity { makeRoom() }
        let mark = unsafe HeaderMark(name)
        unsafe (base + count).initialize(to: Field(mark: mark, name: name, value: value))
        count += 1
        bits |= mark.bit
    }

    private func makeRoom() {
        let larger = UnsafeMutablePointer<Field>.allocate(capacity: 2 * capacity)
        unsafe larger.moveInitialize(from: base, count: count)
        unsafe base.deallocate()
        unsafe base = larger
        capacity *= 2
    }

    /// The bytes of the first header of a name, or nil if there is none, and whether there are more.
    func find(_ name: HeaderName) -> (value: UnsafeRawBufferPointer?, isRepeated: Bool) {
        guard bits & name.mark.bit != 0 else { return (nil, false) }
        var value: UnsafeRawBufferPointer?
        for index in 0..<count where unsafe base[index].isNamed(name) {
            if unsafe value != nil { return unsafe (value, true) }
            unsafe value = base[index].value
        }
        return unsafe (value, false)
    }

    /// How many headers of a name there are.
    func count(_ name: HeaderName) -> Int {
        guard bits & name.mark.bit != 0 else { return 0 }
        var found = 0
        for index in 0..<count where unsafe base[index].isNamed(name) { found += 1 }
        return found
    }

    /// Copies the values of a name.
    func all(_ name: HeaderName) -> [String] {
        var values: [String] = []
        for index in 0..<count where unsafe base[index].isNamed(name) {
            values.append(unsafe String(decoding: base[index].value, as: UTF8.self))
        }
        return values
    }
}

private let noteHeader: MHD_KeyValueIteratorN = { list, _, name, nameCount, value, valueCount in
    guard let list = unsafe list else { return .NO }
    // It is kept by whoever reads into it.
    unsafe Unmanaged<HeaderList>.fromOpaque(list)._withUnsafeGuaranteedRef {
        unsafe $0.append(
            UnsafeRawBufferPointer(start: name, count: nameCount),
            UnsafeRawBufferPointer(start: value, count: valueCount))
    }
    return .YES
}

extension HeaderList.Field {
    fileprivate func isNamed(_ wanted: HeaderName) -> Bool {
        guard mark == wanted.mark else { return false }
        return unsafe wanted.isSame(as: name)
    }
}
