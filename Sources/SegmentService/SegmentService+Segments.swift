public import SharedMemory
import Synchronization

/// A segment as clients see it.
public struct SegmentStatus: Sendable {
    /// Where a segment comes from.
    public enum Origin: String, Sendable, CaseIterable {
        /// This service created it.
        case service
        /// Its name or its lock is of Qt's making.
        case qt
        /// Anybody else.
        case other
    }

    /// Its name.
    public let name: SegmentName
    /// What the host tells of it.
    public let description: SegmentDescription
    /// How many sessions are attached.
    public let sessionCount: Int
    /// Who holds its lock; `nil` for a segment without one.
    public let lock: LockStatus?
    /// Where it comes from.
    public let origin: Origin
}

extension SegmentService {
    /// Tells what a segment is.
    ///
    /// - Parameter name: The segment.
    /// - Returns: Its status.
    /// - Throws: ``ServiceError`` with `.notFound`, or what the system refused.
    public func segment(_ name: SegmentName) throws(ServiceError) -> SegmentStatus {
        // Says what is wrong with the name, where something is.
        _ = try address(of: name, session: nil)
        var host = HostSegments(environment: configuration.environment)
        guard let description = host.segment(name) else { throw missing(name) }
        return try status(of: description, as: name)
    }

    /// The segments of the host, ordered by the text form of their names.
    public var segments: [SegmentStatus] {
        var host = HostSegments(environment: configuration.environment)
        return host.all().compactMap { try? status(of: $0, as: nil) }
            .sorted { $0.name.description.utf8.lexicographicallyPrecedes($1.name.description.utf8) }
    }

    private func status(of description: SegmentDescription, as name: SegmentName?)
        throws(ServiceError) -> SegmentStatus
    {
        let found = name ?? description.name
        let address = try address(of: found, session: nil)
        let id = address.flatMap { entry(at: $0) }
        if let id { lookAtName(of: id) }
        let held = registry.withLock { registry -> (SegmentName?, Int, Bool)? in
            guard let entry = id.flatMap({ registry.entries[$0] }) else { return nil }
            let name = entry.lostNameTo == nil ? entry.name : nil
            return (name, entry.sessionCount, entry.wasCreatedHere)
        }
        let best = shownName(of: found, known: held?.0)
        let lock = (try? lockStatus(best)) ?? nil
        return SegmentStatus(
            name: best, description: description, sessionCount: held?.1 ?? 0, lock: lock,
            origin: held?.2 == true || isKept(best, description) ? .service : origin(of: best))
    }

    /// The name to show of a segment that was found by one name and is attached by another: one segment
    /// has one name in all answers, and the plain key belongs to it where anybody said it.
    private func shownName(of found: SegmentName, known: SegmentName?) -> SegmentName {
        guard case .key(let key) = found else { return known ?? found }
        guard case .key(let other)? = known, key.legacyKey == nil || other.legacyKey != nil else {
            return .key(withPlainKey(key))
        }
        return .key(withPlainKey(other))
    }

    /// Whether it is one that this service made and that outlived its sessions, as far as can be told:
    /// another process may have removed that and made one of the same name and size.
    private func isKept(_ name: SegmentName, _ description: SegmentDescription) -> Bool {
        guard case .key(let key) = name else { return false }
        return registry.withLock { $0.creations.byteCount(of: key) } == description.byteCount
    }

    private func origin(of name: SegmentName) -> SegmentStatus.Origin {
        guard case .key(let key) = name else { return .other }
        if key.hasLegacyName { return .qt }
        switch key.type {
        case .posix: return SegmentLock(ofSegment: key).exists ? .qt : .other
        case .systemV, .windows: return .qt
        }
    }

    /// Removes a segment: its name, its lock, and its memory once nobody is attached any more.
    ///
    /// - Parameters:
    ///   - name: The segment.
    ///   - force: Whether to remove it although somebody is attached.
    /// - Throws: ``ServiceError``: `.inUse`, `.notFound`, or what the system refused.
    public func remove(_ name: SegmentName, force: Bool) throws(ServiceError) {
        guard let address = try address(of: name, session: nil) else { throw .noSegment(name) }
        let held = entry(at: address)
        let isHeldHere = registry.withLock { registry in
            held.flatMap { registry.entries[$0]?.sessionCount } ?? 0 > 0
        }
        guard force || !isHeldHere else { throw .inUse(name) }
        let shared = try opened(name, .readOnly)
        shared.segment.settle()
        let removal = noteRemoval(of: shared, name, at: address)
        defer { state?.release(removal, .segment) }
        let wasRemoved: Bool
        do throws(SegmentError) {
            if force {
                try shared.segment.removeByForce()
                wasRemoved = true
            } else {
                wasRemoved = try removeUnused(shared)
            }
        } catch { throw ServiceError(error) }
        guard wasRemoved else { throw .inUse(name) }
        note(end: force ? .forced : .removed, of: name)
        registry.withLock { registry in
            if let id = registry.current[address] { registry.supersede(id) }
        }
    }

    /// Removes a segment that nobody holds, under its lock if that is to be had: a holder that died
    /// may keep it for good.
    private func removeUnused(_ shared: SharedSegment) throws(SegmentError) -> Bool {
        let lock = shared.segment.lock
        if let lock, lock.exists {
            _ = try? lock.lock(until: .now.advanced(byMilliseconds: 100))
        }
        guard try shared.segment.removeIfLast() else {
            lock?.unlock()
            return false
        }
        lock?.remove()
        return true
    }
}

extension ServiceError {
    fileprivate static func inUse(_ name: SegmentName) -> ServiceError {
        ServiceError(.inUse, "somebody is attached to \(name); force=true removes it all the same")
    }
}
