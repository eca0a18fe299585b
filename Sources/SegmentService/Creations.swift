import SharedMemory
import Synchronization

/// The segments that this service made and that may be there still, as far as quotas are concerned.
///
/// Whether one is there is the kernel's to say: others may have removed it. So what is counted is
/// looked at again before anybody is told that there are too many.
struct Creations {
    private struct Count {
        let byteCount: Int
        /// Where it is recorded.
        let slot: StateSlot
    }

    private var counts: [NativeKey: Count] = [:]
    private(set) var byteCount = 0
    /// Where it is recorded what counts, so that it does for a successor too.
    private let state: StateStore?

    init(_ state: StateStore?) { self.state = state }

    var count: Int { counts.count }
    var keys: [NativeKey] { Array(counts.keys) }

    /// The size of the segment that is counted with a key.
    func byteCount(of key: NativeKey) -> Int? { counts[Self.plain(key)]?.byteCount }

    /// Counts a segment, in place of any of the same key.
    ///
    /// - Parameters:
    ///   - key: Its key.
    ///   - byteCount: Its size.
    ///   - slot: Where it is recorded; where it was, if none is given.
    mutating func note(_ key: NativeKey, _ byteCount: Int, _ slot: StateSlot = .none) {
        let former = counts[Self.plain(key)]
        if let former, slot != .none { state?.release(former.slot, .made) }
        counts[Self.plain(key)] = Count(
            byteCount: byteCount, slot: slot == .none ? former?.slot ?? .none : slot)
        self.byteCount += byteCount - (former?.byteCount ?? 0)
    }

    /// Counts a segment no more.
    mutating func forget(_ key: NativeKey) {
        guard let former = counts.removeValue(forKey: Self.plain(key)) else { return }
        byteCount -= former.byteCount
        state?.release(former.slot, .made)
    }

    /// What stands in the way of one more segment.
    func obstacle(to byteCount: Int, _ limits: SegmentService.Configuration) -> ServiceError? {
        if count >= limits.segmentLimit {
            return ServiceError(
                .outOfResources,
                "this server has made \(limits.segmentLimit) segments that exist still, and may "
                    + "make no more at once (max_segments)")
        }
        let (sum, overflow) = self.byteCount.addingReportingOverflow(byteCount)
        guard overflow || sum > limits.createdByteLimit else { return nil }
        return ServiceError(
            .outOfResources,
            "the segments that this server made may have \(limits.createdByteLimit) bytes in all "
                + "(max_total_bytes), and have \(self.byteCount) already")
    }

    /// The key without the plain one it was made of, which changes nothing about the segment.
    private static func plain(_ key: NativeKey) -> NativeKey {
        NativeKey(key.value, type: key.type)
    }
}

extension SegmentService {
    /// Makes a segment, if the quotas allow one more.
    ///
    /// - Parameters:
    ///   - key: Its key.
    ///   - byteCount: Its size.
    ///   - make: Makes it.
    /// - Returns: What `make` made.
    /// - Throws: ``ServiceError``: `.outOfResources` that names the limit, or what `make` throws.
    func withQuota<Made: ~Copyable>(
        for key: NativeKey, _ byteCount: Int, _ make: () throws(ServiceError) -> Made
    ) throws(ServiceError) -> Made {
        let isReserved = try reserve(key, byteCount)
        var record: StateStore.Prepared<MadeState>?
        do throws(ServiceError) {
            record = try prepare(MadeState(key: key, byteCount: byteCount))
            let made = try make()
            registry.withLock { registry in
                if let record { state?.commit(record) }
                registry.creations.note(key, byteCount, record?.slot ?? .none)
            }
            return made
        } catch {
            if let record { state?.discard(record) }
            if isReserved { registry.withLock { $0.creations.forget(key) } }
            throw error
        }
    }

    /// Ends what is written for a successor, when all sessions have ended; see ``StateStore/end()``.
    ///
    /// - Returns: Whether there is anything that a successor must know.
    public func endState() -> Bool {
        forgetWhatIsGone()
        return state?.end() ?? false
    }

    /// Counts a segment that is yet to be made.
    ///
    /// - Returns: Whether that is new: one of the same key may be there.
    private func reserve(_ key: NativeKey, _ byteCount: Int) throws(ServiceError) -> Bool {
        // One that counts and is there still: to be told that it exists, and to count on.
        let isCounted = registry.withLock { $0.creations.byteCount(of: key) != nil }
        if isCounted, key.hasSegment { return false }
        if tryToReserve(key, byteCount) == nil { return true }
        guard !key.hasSegment else { return false }  // to be told that it exists
        forgetWhatIsGone()
        guard let obstacle = tryToReserve(key, byteCount) else { return true }
        throw obstacle
    }

    /// Counts those no more that others removed.
    private func forgetWhatIsGone() {
        let gone = registry.withLock(\.creations.keys).filter { !$0.hasSegment }
        registry.withLock { registry in
            for key in gone where registry.named[.key(key)] == nil {
                registry.creations.forget(key)
            }
        }
    }

    private func tryToReserve(_ key: NativeKey, _ byteCount: Int) -> ServiceError? {
        registry.withLock { registry in
            if let obstacle = registry.creations.obstacle(to: byteCount, configuration) {
                return obstacle
            }
            registry.creations.note(key, byteCount)
            return nil
        }
    }
}
