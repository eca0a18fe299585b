import SharedMemory
import Synchronization

/// The end of a look at a segment, which nobody else is to notice.
///
/// A process that detaches destroys the segment if it is the last; while we look at it, it is not.
/// So whoever was the last to look decides in its place, under the lock as always. But a lock that
/// is not to be had at once may be held for long: then the memory goes first, and what is left is
/// only a question, whether the segment has lost its last user meanwhile. Most often it has not,
/// for whoever holds the lock is attached.
extension SegmentService {
    /// Lets go of an entry that no session uses, and nobody looks at any more.
    func endLook(_ id: EntryID) {
        var shared: SharedSegment?
        let found = registry.withLock { registry -> (lock: SegmentLock?, isErrand: Bool)? in
            guard let entry = registry.entries[id], entry.isUnused, entry.remnant == nil else {
                return nil
            }
            shared = entry.hadUser ? nil : entry.segment
            return (entry.lock, entry.queue.hasErrand)
        }
        guard let found else { return }
        // Those who came and left during the look count as well.
        let sawOthers = shared?.segment.sawOthers ?? false
        shared = nil
        let decision = registry.withLock { registry -> Bool? in
            if sawOthers { registry.entries[id]?.hadUser = true }
            // Whoever came meanwhile ends the look, and decides.
            guard let entry = registry.entries[id], entry.isUnused else { return nil }
            // A session's end that waits for the lock stays attached until then.
            if !found.isErrand { registry.entries[id]?.endedWithLook = true }
            registry.recordFlags(of: id)
            if !entry.hadUser {
                registry.entries[id]?.ending = .keep
                return true
            }
            return false
        }
        guard let isSpared = decision else { return }
        guard !isSpared, let lock = found.lock else {
            takeDown(id, because: .peeked)
            return
        }
        takeDownWhenPossible(id, lock, because: .peeked)
        if !lock.isHeld { letGoMeanwhile(id, lock) }
    }

    /// Lets go of the memory of an entry that was only looked at, while its lock is waited for.
    ///
    /// Forgets the entry where that decides it: somebody else has the segment, or it is gone.
    ///
    /// - Returns: Whether the lock is waited for still.
    @discardableResult
    func letGoMeanwhile(_ id: EntryID, _ lock: SegmentLock) -> Bool {
        var last: SharedSegment?
        let isMine = registry.withLock { registry in
            guard let entry = registry.entries[id], entry.isUnused, entry.endedWithLook,
                entry.queue.hasErrand, entry.afterClosing == nil, entry.segment != nil
            else { return false }
            last = entry.segment
            registry.entries[id]?.segment = nil
            // Nobody takes it down or opens it meanwhile.
            registry.entries[id]?.afterClosing = []
            return true
        }
        guard isMine, let remnant = last?.segment.remnant else { return true }
        let isRead = !isKnownUniquelyReferenced(&last)
        if !isRead {
            last?.segment.settle()
            last = nil
        }
        let isOpen = isRead || remnant.isUnused
        var needsErrand = false
        let actions = registry.withLock { registry in
            let actions = registry.entries[id]?.afterClosing ?? []
            guard isOpen else {
                _ = registry.remove(id)
                return actions
            }
            registry.entries[id]?.afterClosing = nil
            registry.entries[id]?.segment = last
            registry.entries[id]?.remnant = isRead ? nil : remnant
            // Its turn may have come while the memory was being let go of.
            needsErrand = registry.entries[id]?.queue.hasErrand == false
            return actions
        }
        last = nil
        for action in actions { action() }
        if needsErrand { takeDownWhenPossible(id, lock, because: .peeked) }
        return isOpen
    }
}
