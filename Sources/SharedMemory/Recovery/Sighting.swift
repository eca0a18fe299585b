/// A segment as it was found just before it was attached to: what a successor must know of, should this
/// process be killed while it is attached.
package struct Sighting: Sendable {
    /// Which kernel object it is.
    package let identity: SegmentIdentity
    /// The file that made its System V key.
    package let keyFile: FileIdentity?
    /// Its size.
    package let byteCount: Int
    /// Whether anybody was attached to it, as far as the kernel tells.
    package let isUsed: Bool
}
