public import SharedMemory
import Synchronization

/// The lock of one segment as the sessions see it: who holds it, and who waits in which order.
///
/// Only rules; the semaphore itself is worked by `drive` of the service. Exactly one thread at a
/// time may do that: the one that found the queue ``Phase/idle`` or ended a holder, and set it
/// ``Phase/busy``.
struct LockQueue {
    enum Phase {
        /// Nobody of ours holds or wants the semaphore.
        case idle
        /// A thread of ours works the semaphore.
        case busy
        /// A session holds the semaphore, and with it the lock.
        case held(LockHolder)
    }

    var phase = Phase.idle
    /// Whether something is being done under the lock for one of the waiters.
    var isServing = false
    private var line = WaitingLine()

    var holder: LockHolder? {
        if case .held(let holder) = phase { holder } else { nil }
    }

    /// How many clients wait for the lock to be theirs or to do something under it.
    var waitingCount: Int { line.clientCount }

    var isEmpty: Bool { line.isEmpty }

    /// Whether a thread works the semaphore for waiters who have all left.
    var isLingering: Bool {
        if case .busy = phase { isEmpty && !isServing } else { false }
    }

    /// Whether an errand of the service's own waits.
    ///
    /// One is enough: it looks at how things stand when its turn comes.
    var hasErrand: Bool { line.errandCount > 0 }

    func contains(_ waiter: LockWaiter) -> Bool { line.contains(waiter) }

    mutating func append(_ waiter: LockWaiter) { line.append(waiter) }

    /// Takes the one who has waited longest out of the queue.
    ///
    /// What a session wants done under the lock comes before its own wish to hold it: afterwards it
    /// would wait for itself.
    mutating func popFirst() -> LockWaiter? {
        guard var next = line.first else { return nil }
        if case .hold = next.purpose, let session = next.session, line.hasWork(of: session),
            let work = line.first(where: { $0.session == session && $0.isWork })
        {
            next = work
        }
        _ = line.remove(next)
        return next
    }

    /// Puts one back who was taken out too soon.
    mutating func putBack(_ waiter: LockWaiter) { line.prepend(waiter) }

    /// Whether a session wants something done under the lock.
    func hasWork(of session: Session.ID?) -> Bool {
        session.map { line.hasWork(of: $0) } ?? false
    }

    /// Takes one waiter out, wherever it stands.
    ///
    /// - Returns: Whether it was waiting.
    mutating func remove(_ waiter: LockWaiter) -> Bool { line.remove(waiter) }

    /// Takes out everybody but the service's own errands.
    mutating func removeAllClients() -> [LockWaiter] { line.removeAll(where: \.isClient) }

    /// Takes all waiters out, or those of one session.
    mutating func removeAll(of session: Session.ID? = nil) -> [LockWaiter] {
        guard !line.isEmpty else { return [] }
        return line.removeAll { session == nil || $0.session == session }
    }
}

/// A session's hold on a lock.
struct LockHolder {
    let session: Session.ID
    let token: FencingToken
    let acquiredAt: WallTime
    /// The same on the clock that durations are measured by.
    let since = MonotonicInstant.now
}

/// Somebody who waits for a lock.
final class LockWaiter: Sendable {
    /// What is to happen once the semaphore is ours.
    enum Purpose: Sendable {
        /// The session is to hold the lock from then on.
        case hold(@Sendable (Result<LockGrant, ServiceError>) -> Void)
        /// Something is to be done under the lock; the answer says whether the lock lived on.
        case perform(@Sendable (Result<Void, ServiceError>) -> LockAfterwards)
    }

    let session: Session.ID?
    let client: (any WaitingClient)?
    let purpose: Purpose
    /// Whether it counts as a client waiting, or is the service's own errand.
    let isClient: Bool
    /// What the timer calls at the deadline.
    let deadline = Atomic<UInt64>(0)
    /// When the wait began.
    let since = MonotonicInstant.now

    init(
        session: Session.ID?, client: (any WaitingClient)?, isClient: Bool = true, purpose: Purpose
    ) {
        self.session = session
        self.client = client
        self.isClient = isClient
        self.purpose = purpose
    }

    /// Whether something is to be done under the lock, and the lock then given on.
    var isWork: Bool { if case .perform = purpose { true } else { false } }

    /// Ends the wait without the lock.
    func fail(_ error: ServiceError) {
        switch purpose {
        case .hold(let completion): completion(.failure(error))
        case .perform(let body): _ = body(.failure(error))
        }
    }
}

/// What is left of a lock after something was done under it.
enum LockAfterwards {
    /// The semaphore is ours still.
    case held
    /// The segment is gone, and the semaphore with it.
    case gone
}

/// A client behind a wait, of whom only one thing matters.
public protocol WaitingClient: AnyObject, Sendable {
    /// Whether the client is still there to be answered.
    var isConnected: Bool { get }
}

/// A lock granted to a session.
public struct LockGrant: Sendable {
    /// The text form of the segment's name.
    public let segment: String
    /// The number that fences off earlier holders.
    public let fencingToken: FencingToken
    /// When the lock was granted.
    public let acquiredAt: WallTime
}

/// Who holds a lock.
public struct LockStatus: Sendable {
    /// The kinds of holder.
    public enum State: String, Sendable {
        /// Nobody.
        case free
        /// A session of this service.
        case session
        /// A process that is not this service, living or dead.
        case external
    }

    /// The kind of holder.
    public let state: State
    /// The holding session's name, where it gave one.
    public let sessionName: String?
    /// How many requests wait here for the lock.
    public let waiting: Int
}
