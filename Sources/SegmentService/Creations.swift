import SharedMemory
import Synchronization

/// The segments that this service made and that may be there still, as far as quotas are concerned.
///
/// Whether one is there is the kernel's to say: others may have removed it. So what is counted is
/// looked at again before anybody is told that there are too many.
struct Creations {
    private var byteCounts: [NativeKey: Int] = [:]
    private(set) var byteCount = 0

    var count: Int { byteCounts.count }
    var keys: [NativeKey] { Array(byteCounts.keys) }

    /// Whether a key is counted.
    func has(_ key: NativeKey) -> Bool { byteCounts[Self.plain(key)] != nil }

    /// Counts a segment, in place of any of the same key.
    mutating func note(_ key: NativeKey, _ byteCount: Int) {
        forget(key)
        byteCounts[Self.plain(key)] = byteCount
        self.byteCount += byteCount
    }

    /// Counts a segment no more.
    mutating func forget(_ key: NativeKey) {
        byteCount -= byteCounts.removeValue(forKey: Self.plain(key)) ?? 0
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
        do throws(ServiceError) {
            let made = try make()
            registry.withLock { $0.creations.note(key, byteCount) }
            return made
        } catch {
            if isReserved { registry.withLock { $0.creations.forget(key) } }
            throw error
        }
    }

    /// Counts a segment that is yet to be made.
    ///
    /// - Returns: Whether that is new: one of the same key may be there.
    private func reserve(_ key: NativeKey, _ byteCount: Int) throws(ServiceError) -> Bool {
        if tryToReserve(key, byteCount) == nil { return true }
        guard !key.hasSegment else { return false }  // to be told that it exists
        let gone = registry.withLock(\.creations.keys).filter { $0 == key || !$0.hasSegment }
        registry.withLock { registry in
            for key in gone where registry.named[.key(key)] == nil {
                registry.creations.forget(key)
            }
        }
        guard let obstacle = tryToReserve(key, byteCount) else { return true }
        throw obstacle
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
