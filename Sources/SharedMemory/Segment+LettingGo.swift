import Synchronization

/// Detaching, and the question whether this was the last reference.
extension Segment {
    /// Whether the segment's name still leads here; false once a peer removed or replaced it.
    public var hasItsName: Bool { memory.hasItsName }

    /// Whether whoever follows the ``address`` now gets this segment.
    package var hasItsAddress: Bool { memory.hasItsAddress }

    /// What the segment can be called whatever became of its name: by its number, or its file's.
    package var properName: String { memory.properName }

    /// Puts a key file back that another process removed, where that makes the same key again.
    ///
    /// - Returns: Whether the name leads here again.
    package func putNameBack() -> Bool {
        memory.hasItsAddress && memory.keyFile?.putBack() ?? false
    }

    /// Where the name led when the segment was found by it.
    ///
    /// A key file may lead elsewhere before and after. `nil` for a segment that was found by its
    /// number.
    package var address: KernelAddress? { memory.address }

    /// The key file by which the segment was found, apart from its path.
    package var keyFileIdentity: (device: UInt64, inode: UInt64)? {
        memory.keyFile.map { ($0.identity.device, $0.identity.inode) }
    }

    /// Whether any other holder has the segment; `nil` where the kernel does not tell.
    public var isUsedByOthers: Bool? {
        switch memory.useByOthers() {
        case .used: true
        case .unused: false
        case .unknown: nil
        }
    }

    /// Whether another process attached or detached since this holder attached, as far as the kernel
    /// tells: for POSIX segments it does not.
    package var sawOthers: Bool { memory.sawOthers }

    /// What finds the segment again after this value let go of it.
    package var remnant: Remnant { Remnant(memory.remnant) }

    /// Detaches; destroys the segment if this was its last reference.
    ///
    /// Takes the lock for it, as Qt does, unless this segment's ``lock`` is held already; gives
    /// it back in either case.
    ///
    /// - Parameter deadline: How long to wait for a lock that another holds.
    /// - Returns: Whether the segment was destroyed.
    /// - Throws: ``SegmentError`` with `.lockError` when the lock was not to be had in time, or
    ///   what the system refused. The memory is let go in any case.
    @discardableResult
    public consuming func detach(until deadline: MonotonicInstant = .distantFuture)
        throws(SegmentError) -> Bool
    {
        // One that has lost both its name and its lock needs neither to go.
        guard let lock, lock.exists || hasItsName else { return try removeIfLast() }
        if !lock.isHeld {
            guard try lock.lock(until: deadline) else {
                settle()
                throw SegmentError(
                    .lockError, key: name.description, reason: "held by another process")
            }
        }
        let wasLast: Bool
        do throws(SegmentError) { wasLast = try removeIfLast() } catch {
            lock.unlock()
            throw error
        }
        finish(wasLast, lock)
        return wasLast
    }

    // The mapping goes before the lock does: whoever takes the lock next must not find it still.
    borrowing func finish(_ wasLast: Bool, _ lock: SegmentLock) {
        hold.letGo()
        if wasLast { lock.remove() } else { lock.leave() }
    }

    /// Removes the segment if this is its last reference.
    ///
    /// The caller holds the ``lock``, lets the value go afterwards, and only then ends the lock
    /// with ``SegmentLock/unlock()`` or, when the segment is gone, ``SegmentLock/remove()``.
    ///
    /// - Returns: Whether it was the last reference.
    /// - Throws: ``SegmentError`` for what the system refused.
    package func removeIfLast() throws(SegmentError) -> Bool {
        settle()
        do throws(SystemCallError) { return try memory.removeUnlessUsed() } catch {
            throw SegmentError(error, key: name.description)
        }
    }

    /// Removes name and lock now, whoever is attached; the memory lives on with those who are.
    ///
    /// - Throws: ``SegmentError`` for what the system refused.
    public func removeByForce() throws(SegmentError) {
        settle()
        do throws(SystemCallError) { try memory.removeByForce() } catch {
            throw SegmentError(error, key: name.description)
        }
        lock?.remove()
    }

    /// Decides that letting go of this value destroys nothing.
    public func settle() { isSettled.store(true, ordering: .releasing) }
}
