/// The bytes of a segment: copies that never fault, and the memory itself for those who embed it.
extension Segment {
    /// Copies bytes out of the segment.
    ///
    /// Never faults, and never gives bytes that are not there.
    ///
    /// - Parameters:
    ///   - offset: Where to begin.
    ///   - buffer: What to fill wholly.
    /// - Throws: ``SegmentError``: `.outOfRange`; `.truncated` when a peer made it smaller.
    public func read(at offset: Int, into buffer: UnsafeMutableRawBufferPointer)
        throws(SegmentError)
    {
        try require(offset, buffer.count)
        do throws(MemoryFault) { try unsafe memory.read(at: offset, into: buffer) } catch {
            throw failure(error)
        }
    }

    /// Copies bytes out of the segment for somebody who came by its name, and asks at the same time
    /// where the name leads.
    ///
    /// - Parameters:
    ///   - offset: Where to begin.
    ///   - buffer: What to fill wholly.
    /// - Returns: Whether the ``address`` led to this segment; where not, the buffer is worth nothing.
    /// - Throws: ``SegmentError`` as ``read(at:into:)``.
    package func readByName(at offset: Int, into buffer: UnsafeMutableRawBufferPointer)
        throws(SegmentError) -> Bool
    {
        try require(offset, buffer.count)
        do throws(MemoryFault) {
            return try unsafe memory.readByName(at: offset, into: buffer)
        } catch { throw failure(error) }
    }

    /// Copies bytes out of the segment into a new array.
    ///
    /// - Parameters:
    ///   - offset: Where to begin.
    ///   - byteCount: How many to copy.
    /// - Returns: The bytes.
    /// - Throws: ``SegmentError`` as ``read(at:into:)``.
    public func read(at offset: Int, byteCount: Int) throws(SegmentError) -> [UInt8] {
        try require(offset, byteCount)
        var failure: SegmentError?
        let bytes = unsafe [UInt8](unsafeUninitializedCapacity: byteCount) { buffer, count in
            do throws(SegmentError) {
                try unsafe read(at: offset, into: UnsafeMutableRawBufferPointer(buffer))
                count = byteCount
            } catch { failure = error }
        }
        if let failure { throw failure }
        return bytes
    }

    /// Copies bytes into the segment.
    ///
    /// Never faults, and never makes the segment grow.
    ///
    /// - Parameters:
    ///   - buffer: The bytes.
    ///   - offset: Where they go.
    /// - Throws: ``SegmentError``: `.outOfRange`, `.readOnly`; `.truncated` when a peer made it
    ///   smaller, `.outOfResources` when a page that its creator did not reserve cannot be had.
    public func write(_ buffer: UnsafeRawBufferPointer, at offset: Int) throws(SegmentError) {
        guard mode == .readWrite else { throw SegmentError(.readOnly, key: name.description) }
        try require(offset, buffer.count)
        do throws(MemoryFault) { try unsafe memory.write(buffer, at: offset) } catch {
            throw failure(error)
        }
    }

    /// Copies the bytes of an array into the segment.
    ///
    /// - Parameters:
    ///   - bytes: The bytes.
    ///   - offset: Where they go.
    /// - Throws: ``SegmentError`` as the other `write`.
    public func write(_ bytes: [UInt8], at offset: Int) throws(SegmentError) {
        var failure: SegmentError?
        unsafe bytes.withUnsafeBytes { buffer in
            do throws(SegmentError) { try unsafe write(buffer, at: offset) } catch {
                failure = error
            }
        }
        if let failure { throw failure }
    }

    /// Lends the bytes themselves.
    ///
    /// Other processes may change them meanwhile; hold the ``lock`` to keep those out that hold to
    /// it. A peer that truncates a POSIX segment makes the access fault: where peers are not
    /// trusted, copy with ``read(at:into:)``.
    ///
    /// - Parameter body: Looks at the bytes.
    /// - Returns: What `body` returns.
    /// - Throws: What `body` throws.
    public func withBytes<Result, Failure: Error>(
        _ body: (RawSpan) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try body(unsafe RawSpan(_unsafeStart: memory.baseAddress, byteCount: byteCount))
    }

    /// Lends the bytes themselves for changing.
    ///
    /// - Parameter body: Changes the bytes; see ``withBytes(_:)`` for what to beware of.
    /// - Returns: What `body` returns.
    /// - Throws: What `body` throws.
    /// - Precondition: The segment is attached ``AccessMode/readWrite``.
    public func withMutableBytes<Result, Failure: Error>(
        _ body: (inout MutableRawSpan) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        precondition(mode == .readWrite, "the segment is attached read-only")
        var span = unsafe MutableRawSpan(
            _unsafeStart: memory.mutableBaseAddress, byteCount: byteCount)
        return try body(&span)
    }

    /// The address of the bytes, for those who hand it to the kernel and to nobody else: a system
    /// call answers a page that a peer took away with `EFAULT`.
    ///
    /// Valid while the segment lives.
    package var baseAddress: UnsafeRawPointer { unsafe memory.baseAddress }

    /// The size now, in bytes: less than ``byteCount`` once a peer truncated the segment.
    ///
    /// - Returns: The size.
    /// - Throws: ``SegmentError`` when the system cannot tell.
    public func currentByteCount() throws(SegmentError) -> Int {
        do throws(SystemCallError) { return try memory.currentByteCount() } catch {
            throw SegmentError(error, key: name.description)
        }
    }

    private func require(_ offset: Int, _ count: Int) throws(SegmentError) {
        guard offset >= 0, count >= 0, offset <= byteCount, count <= byteCount - offset else {
            throw SegmentError(
                .outOfRange, key: name.description,
                reason: "\(count) bytes at \(offset) of \(byteCount)")
        }
    }

    private func failure(_ fault: MemoryFault) -> SegmentError {
        switch fault {
        case .truncated: SegmentError(.truncated, key: name.description)
        case .refused(let error): SegmentError(error, key: name.description)
        }
    }
}
