import SharedMemory
import Testing

@testable import SegmentService

@Suite struct `A lock queue` {
    private func waiter(_ session: Session.ID? = .init(), isClient: Bool = true) -> LockWaiter {
        LockWaiter(session: session, client: nil, isClient: isClient, purpose: .hold { _ in })
    }

    @Test func `serves in the order of arrival`() {
        var queue = LockQueue()
        let waiters = (0..<10).map { _ in waiter() }
        for waiter in waiters { queue.append(waiter) }
        let served = waiters.map { _ in queue.popFirst() }
        #expect(zip(waiters, served).allSatisfy { $0 === $1 })
        let none = queue.popFirst()
        #expect(none == nil)
        #expect(queue.isEmpty)
    }

    @Test func `lets one go from wherever it stands, once`() {
        var queue = LockQueue()
        let (one, two, three) = (waiter(), waiter(), waiter())
        for waiter in [one, two, three] { queue.append(waiter) }
        let (first, second) = (queue.remove(two), queue.remove(two))
        #expect(first && !second)
        #expect(!queue.contains(two) && queue.contains(one))
        let left = [queue.popFirst(), queue.popFirst()]
        #expect(left[0] === one && left[1] === three)
    }

    @Test func `gives out the waiters of one session, or all`() {
        var queue = LockQueue()
        let session = Session.ID()
        let (mine, other, again) = (waiter(session), waiter(), waiter(session))
        for waiter in [mine, other, again] { queue.append(waiter) }
        let removed = queue.removeAll(of: session)
        #expect(removed.count == 2 && removed[0] === mine && removed[1] === again)
        let rest = queue.removeAll()
        #expect(rest.count == 1)
        #expect(queue.isEmpty)
    }

    @Test func `counts clients, and keeps the service's own errands when they go`() {
        var queue = LockQueue()
        let errand = waiter(nil, isClient: false)
        queue.append(waiter())
        queue.append(errand)
        queue.append(waiter())
        #expect(queue.waitingCount == 2)
        let clients = queue.removeAllClients()
        #expect(clients.count == 2)
        #expect(queue.waitingCount == 0)
        let left = queue.popFirst()
        #expect(left === errand)
    }

    @Test func `has a holder only while a session holds`() {
        var queue = LockQueue()
        #expect(queue.holder == nil)
        queue.phase = .busy
        #expect(queue.holder == nil)
        let session = Session.ID()
        queue.phase = .held(LockHolder(session: session, token: 5, acquiredAt: .now))
        #expect(queue.holder?.session == session)
    }

    @Test func `a waiter that fails is told once, whatever it waited to do`() {
        let told = Reports<ServiceError.Code>()
        LockWaiter(
            session: nil, client: nil,
            purpose: .hold { if case .failure(let error) = $0 { told.add(error.code) } }
        ).fail(.sessionGone)
        LockWaiter(
            session: nil, client: nil,
            purpose: .perform {
                if case .failure(let error) = $0 { told.add(error.code) }
                return .held
            }
        ).fail(.gone)
        #expect(told.all == [.sessionGone, .notFound])
    }
}
