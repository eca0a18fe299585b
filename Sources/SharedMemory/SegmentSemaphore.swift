/// The semaphore behind a segment's lock; one conforming type for each kind of kernel object.
///
/// One object stands for one opening of one kernel semaphore. When the kernel object is removed
/// or replaced, ``isCurrent`` becomes false, or calls fail with `EIDRM`, and ``SegmentLock``
/// opens the new one.
protocol SegmentSemaphore: AnyObject, Sendable {
    /// Takes the semaphore if it is free.
    func tryWait() throws(SystemCallError) -> Bool

    /// Waits for the semaphore until an instant.
    func wait(until deadline: MonotonicInstant) throws(SystemCallError) -> Bool

    func post() throws(SystemCallError)

    /// Gives back a semaphore that newcomers do not find any more; whoever made it removes it.
    func giveUp(isOwner: Bool) throws(SystemCallError)

    /// Whether whoever opens the key now gets this semaphore.
    var isCurrent: Bool { get }

    /// The same of a semaphore that was taken a moment ago, and so was there.
    var isCurrentAsTaken: Bool { get }

    /// Whether nobody can find the semaphore any more, and others have it all the same.
    var isSharedWithoutName: Bool { get }

    /// Whether the semaphore, taken by this process, is still what others find taken.
    var isStillTaken: Bool { get }

    func isFree() throws(SystemCallError) -> Bool

    /// Whether anybody waits for it besides this object's own waits.
    func hasWaiters() -> Bool

    /// Whether it is taken by a holder that is provably gone.
    func isAbandoned() -> Bool

    /// Frees the semaphore if its holder is provably gone.
    ///
    /// - Returns: Whether it was freed.
    func recoverIfStale() -> Bool

    /// Gives back what was taken, also where others use another semaphore by now; not where it was
    /// reset meanwhile, for then it is given back already.
    ///
    /// - Returns: Whether it had kept others out until now.
    func giveBack() -> Bool

    /// Frees the semaphore whoever holds it.
    func free() throws(SystemCallError)

    /// The kernel's number for it, where it has one.
    var identifier: CInt? { get }

    /// Makes what a former process took this process's own, if nobody had it since.
    func resume(after former: FormerHolder) -> Bool

    /// Sets the value that a creator, gone by now, did not come to set.
    func finishCreation()

    /// Removes the semaphore, and what names it, where nobody uses it as far as the kernel tells.
    func removeUnlessUsed()

    /// Removes the semaphore and what names it.
    ///
    /// - Parameter byForce: Whether a POSIX one goes although others have it open.
    func remove(byForce: Bool)

    /// Leaves a semaphore that this object made, and holds, to those who stay.
    ///
    /// - Parameter withFile: Whether a key file goes with it: the segment may need it.
    func handOver(withFile: Bool)
}
