/// What a derived key is to name: the memory of a segment, or the semaphore that locks it.
public enum KeyPurpose: Hashable, Sendable, CaseIterable {
    /// The segment's memory, a `QSharedMemory` in Qt.
    case memory

    /// A semaphore, a `QSystemSemaphore` in Qt.
    case semaphore

    /// What the names begin with that Qt derives from legacy keys.
    var legacyPrefix: String {
        switch self {
        case .memory: "qipc_sharedmemory_"
        case .semaphore: "qipc_systemsem_"
        }
    }
}
