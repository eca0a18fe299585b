/// The memory of an attached segment; one conforming type for each kind of kernel object.
///
/// Everything here is safe against what other processes do to the object. Offsets and counts
/// have been checked against ``byteCount`` by the caller.
protocol SegmentMemory: AnyObject, Sendable {
    /// The size when it was attached, in bytes.
    var byteCount: Int { get }
    var mode: AccessMode { get }
    var baseAddress: UnsafeRawPointer { get }
    var mutableBaseAddress: UnsafeMutableRawPointer { get }

    /// Whether the segment's name still leads to this memory.
    var hasItsName: Bool { get }

    /// Which kernel object it is, whatever its name leads to.
    var identity: SegmentIdentity { get }
    /// Whether whoever follows the ``address`` gets this memory: for System V that is the key, which
    /// the segment has for as long as it is not removed, whatever became of the key file.
    var hasItsAddress: Bool { get }

    /// What the memory can be called whatever became of its name.
    var properName: String { get }

    /// Where the name led when the memory was found by it; `nil` where it was found by number.
    var address: KernelAddress? { get }

    /// The file that made the System V key by which the memory was found.
    var keyFile: KeyFile? { get }

    /// The size now: smaller than ``byteCount`` when a peer truncated the segment.
    func currentByteCount() throws(SystemCallError) -> Int

    func read(at offset: Int, into buffer: UnsafeMutableRawBufferPointer) throws(MemoryFault)
    /// Reads, and looks at the name at the same time.
    ///
    /// - Returns: Whether whoever followed the ``address`` got this memory; what was read is worth nothing
    ///   otherwise.
    func readByName(at offset: Int, into buffer: UnsafeMutableRawBufferPointer)
        throws(MemoryFault) -> Bool
    func write(_ buffer: UnsafeRawBufferPointer, at offset: Int) throws(MemoryFault)

    /// Whether any other holder has the segment, as exactly as the kernel tells.
    func useByOthers() -> Use

    /// Whether another process attached to the segment or detached from it since this holder
    /// attached; false where the kernel does not tell.
    var sawOthers: Bool { get }

    /// What finds the object again after this holder let go of it.
    var remnant: Remnant.Object { get }

    /// Removes memory and name if no other holder has the segment. The caller holds the lock.
    ///
    /// - Returns: Whether this was the last reference.
    func removeUnlessUsed() throws(SystemCallError) -> Bool

    /// Removes the name now and the memory when the last holder lets go.
    func removeByForce() throws(SystemCallError)
}

/// What the kernel says of others who hold a segment.
enum Use: Hashable, Sendable {
    case unused, used, unknown
}

/// Why bytes could not be copied.
enum MemoryFault: Error {
    case truncated
    case refused(SystemCallError)
}
