/// What a holder may do with the bytes of a segment, as `QSharedMemory::AccessMode`.
public enum AccessMode: Hashable, Sendable {
    /// Reading. The mapping refuses stores; asking this library to write is an error.
    case readOnly
    /// Reading and writing.
    case readWrite
}
