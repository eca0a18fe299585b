import SharedMemory
import Synchronization

/// Segments that lost their names to other processes while sessions are attached to them.
///
/// A Qt object that made a lock removes the key file with it, whoever uses the segment; and anybody
/// may unlink a file of /dev/shm. What then gets the name is another segment. Those who are attached
/// go on with theirs, by the name they know; what is said of it is another name, which nothing else
/// ever has.
extension SegmentService {
    /// Looks whether the name of an entry leads to its segment still, and notes it.
    ///
    /// A key file that is missing is put back where that gives the same key.
    func lookAtName(of id: EntryID) {
        guard let shared = registry.withLock({ $0.entries[id]?.segment }) else { return }
        let hasName = shared.segment.hasItsName || shared.segment.putNameBack()
        let proper = hasName ? nil : shared.segment.properName
        registry.withLock { registry in
            guard registry.entries[id]?.lostNameTo != proper else { return }
            registry.entries[id]?.lostNameTo = proper
        }
    }

    /// Looks at the names of several entries.
    func lookAtNames(of ids: [EntryID]) {
        for id in ids { lookAtName(of: id) }
    }

    /// The entry of the segment that an address leads to now.
    func entry(at address: KernelAddress) -> EntryID? {
        let found = registry.withLock { registry in
            registry.current[address].map { ($0, registry.entries[$0]?.segment) }
        }
        guard let (id, shared) = found else { return nil }
        guard let shared, !shared.segment.hasItsAddress else { return id }
        registry.withLock { $0.supersede(id) }
        return nil
    }

    /// Puts a key file back by which sessions are attached, where that gives the same key.
    ///
    /// - Returns: Whether the name leads to their segment again.
    func putBack(_ name: SegmentName) -> Bool {
        guard let id = registry.withLock({ $0.named[name] }) else { return false }
        lookAtName(of: id)
        return registry.withLock { $0.entries[id].map { $0.lostNameTo == nil } ?? false }
    }

    /// Says that there is no segment of a name, and what became of it where sessions know.
    func missing(_ name: SegmentName, otherwise error: ServiceError? = nil) -> ServiceError {
        if let id = registry.withLock({ $0.named[name] }) { lookAtName(of: id) }
        let lost = registry.withLock { registry in
            registry.named[name].flatMap { registry.entries[$0] }
                .map { (title: $0.lostNameTo, count: $0.sessionCount) }
        }
        guard let lost, let title = lost.title, lost.count > 0 else {
            return error ?? .noSegment(name)
        }
        return ServiceError(
            .notFound,
            "the name \(name) leads to no segment: another process took that name from \(title), "
                + "to which \(lost.count) sessions are attached still")
    }
}
