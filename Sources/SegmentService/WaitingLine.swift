/// Those who wait for a lock, in the order in which they came.
///
/// Anybody may leave at any time, and whatever happens costs the same however many wait: thousands
/// may. Who leaves from the middle leaves a gap, which is closed later together with others.
struct WaitingLine {
    private var line: [LockWaiter?] = []
    /// Where the line begins: there are only gaps before it.
    private var head = 0
    /// The place of the first element of `line`; places count up.
    private var base = 0
    private var places: [ObjectIdentifier: Int] = [:]
    private var workCounts: [Session.ID: Int] = [:]

    /// How many of them are clients.
    private(set) var clientCount = 0

    var isEmpty: Bool { places.isEmpty }
    var errandCount: Int { places.count - clientCount }

    func contains(_ waiter: LockWaiter) -> Bool { places[ObjectIdentifier(waiter)] != nil }

    /// Whether a session wants something done under the lock.
    func hasWork(of session: Session.ID) -> Bool { workCounts[session] != nil }

    mutating func append(_ waiter: LockWaiter) {
        enter(waiter, at: base + line.count)
        line.append(waiter)
    }

    mutating func prepend(_ waiter: LockWaiter) {
        if head > 0 {
            head -= 1
            line[head] = waiter
        } else {
            line.insert(waiter, at: 0)
            base -= 1
        }
        enter(waiter, at: base + head)
    }

    /// Who has waited longest.
    var first: LockWaiter? {
        for waiter in line[head...] {
            if let waiter { return waiter }
        }
        return nil
    }

    func first(where matches: (LockWaiter) -> Bool) -> LockWaiter? {
        for waiter in line[head...] {
            if let waiter, matches(waiter) { return waiter }
        }
        return nil
    }

    /// Takes one out, wherever it stands.
    ///
    /// - Returns: Whether it was there.
    mutating func remove(_ waiter: LockWaiter) -> Bool {
        guard let place = places.removeValue(forKey: ObjectIdentifier(waiter)) else { return false }
        line[place - base] = nil
        if waiter.isClient { clientCount -= 1 }
        if waiter.isWork, let session = waiter.session {
            let left = (workCounts[session] ?? 1) - 1
            workCounts[session] = left > 0 ? left : nil
        }
        closeGaps()
        return true
    }

    /// Takes out everybody who fits, in order.
    mutating func removeAll(where fits: (LockWaiter) -> Bool) -> [LockWaiter] {
        let removed = line[head...].compactMap { $0.flatMap { fits($0) ? $0 : nil } }
        for waiter in removed { _ = remove(waiter) }
        return removed
    }

    private mutating func enter(_ waiter: LockWaiter, at place: Int) {
        places[ObjectIdentifier(waiter)] = place
        if waiter.isClient { clientCount += 1 }
        if waiter.isWork, let session = waiter.session { workCounts[session, default: 0] += 1 }
    }

    private mutating func closeGaps() {
        guard !places.isEmpty else {
            (line, head) = ([], 0)
            return
        }
        while line[head] == nil { head += 1 }
        while case .some(nil) = line.last { line.removeLast() }
        guard head > 32, head > line.count / 2 else { return }
        line.removeFirst(head)
        base += head
        head = 0
    }
}
