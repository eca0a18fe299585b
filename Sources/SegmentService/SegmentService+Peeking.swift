public import SharedMemory
import Synchronization

/// A short look, by its name, into a segment that is attached.
public struct Peek: ~Copyable {
    private let shared: SharedSegment
    /// Whether another request that came in together with this one saw the name lead here.
    private let isSure: Bool

    fileprivate init(_ shared: SharedSegment, isSure: Bool) {
        self.shared = shared
        self.isSure = isSure
    }

    /// The size of the segment, in bytes.
    public var byteCount: Int { shared.segment.byteCount }

    /// Copies bytes out of the segment, and asks at the same time where its name leads.
    ///
    /// - Parameters:
    ///   - offset: Where to begin.
    ///   - buffer: What to fill wholly.
    /// - Returns: Whether the name leads to this segment; where not, the buffer is worth nothing.
    /// - Throws: ``SegmentError`` as `Segment.read(at:into:)`.
    public func read(at offset: Int, into buffer: UnsafeMutableRawBufferPointer)
        throws(SegmentError) -> Bool
    {
        guard isSure else { return try unsafe shared.segment.readByName(at: offset, into: buffer) }
        try unsafe shared.segment.read(at: offset, into: buffer)
        return true
    }
}

extension SegmentService {
    /// Looks into the segment that a name led to last, if that is attached here, be it for others.
    ///
    /// It costs a fraction of ``access(_:session:for:)``, which does the same for any segment and tells
    /// what is wrong where there is none.
    ///
    /// - Parameters:
    ///   - name: The segment.
    ///   - batch: A number shared by requests that had all begun to arrive before the first of them was
    ///     handled: one of them asks where the name leads, and the others that come right after it take
    ///     that for their own answer.
    ///   - body: Reads, and returns whether ``Peek/read(at:into:)`` said that the name leads there.
    /// - Returns: What `body` returned; false where it was not called.
    public func peek(_ name: KnownName, in batch: UInt64?, _ body: (borrowing Peek) -> Bool)
        -> Bool
    {
        let isSeen: Bool
        let entry: EntryID
        if let batch, let seen = name.entry(seenIn: batch),
            let shared = registry.withLock({ $0.beginPeek(seen) })
        {
            entry = seen
            isSeen = look(Peek(shared, isSure: true), body)
        } else {
            guard let address = try? address(of: name),
                let (found, shared) = registry.withLock({ $0.beginPeek(at: address) })
            else { return false }
            entry = found
            isSeen = look(Peek(shared, isSure: false), body)
            if isSeen, let batch { name.noteLook(at: entry, in: batch) }
        }
        endPeek(entry)
        return isSeen
    }

    /// Looks, and lets go of the memory, so that whoever ends the peek finds it unused.
    private func look(_ peek: consuming Peek, _ body: (borrowing Peek) -> Bool) -> Bool {
        body(peek)
    }
}
