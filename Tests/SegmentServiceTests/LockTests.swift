import Glibc
import SharedMemory
import Synchronization
import Testing

@testable import SegmentService

@Suite struct `The lock of a segment` {
    @Test(arguments: KeyKind.allCases)
    func `goes to 200 waiters in the order they came`(kind: KeyKind) throws {
        try withSegmentName(kind) { service, name in
            let holder = try service.open()
            try service.make(name, holder)
            var last = try service.take(name, holder)
            var waiting: [(session: Session.ID, request: Request<LockGrant>)] = []
            for _ in 0..<200 {
                let session = try service.open()
                try service.join(name, session)
                waiting.append((session, service.beginLock(name, session)))
            }
            #expect(try service.lockStatus(name)?.waiting == 200)
            try service.unlock(name, session: holder)
            for index in waiting.indices {
                let token = try waiting[index].request.answer().fencingToken
                #expect(token > last)
                last = token
                #expect(waiting[(index + 1)...].allSatisfy { !$0.request.isAnswered })
                try service.unlock(name, session: waiting[index].session)
            }
            #expect(try service.lockStatus(name)?.state == .free)
        }
    }

    @Test(arguments: KeyKind.allCases)
    func `is refused when the wait runs out, not before and not much later`(kind: KeyKind) throws {
        try withSegmentName(kind) { service, name in
            let (holder, other) = (try service.open(), try service.open())
            try service.make(name, holder)
            try service.join(name, other)
            try service.take(name, holder)
            let start = MonotonicInstant.now
            #expect(try service.beginLock(name, other, wait: 150).refusal() == .locked)
            #expect(start.advanced(byMilliseconds: 150) <= .now)
            #expect(MonotonicInstant.now < start.advanced(byMilliseconds: 2_000))
            #expect(try service.lockStatus(name)?.waiting == 0)
            try service.unlock(name, session: holder)
            try service.take(name, other, wait: 0)
        }
    }

    @Test(arguments: KeyKind.allCases)
    func `is refused in time although another process holds it`(kind: KeyKind) throws {
        try withSegmentName(kind) { service, name in
            let session = try service.open()
            try service.make(name, session)
            let foreign = SegmentLock(ofSegment: try name.key)
            #expect(try foreign.tryLock())
            #expect(try service.lockStatus(name)?.state == .external)
            #expect(try service.beginLock(name, session, wait: 0).refusal() == .locked)
            #expect(try service.beginLock(name, session, wait: 80).refusal() == .locked)
            let request = service.beginLock(name, session)
            #expect(!request.isAnswered)
            foreign.unlock()
            _ = try request.answer()
        }
    }

    @Test(arguments: KeyKind.allCases)
    func `never goes to a waiter that was taken back`(kind: KeyKind) throws {
        try withSegmentName(kind) { service, name in
            let sessions = try (0..<3).map { _ in try service.open() }
            try service.make(name, sessions[0])
            for session in sessions[1...] { try service.join(name, session) }
            try service.take(name, sessions[0])
            let cancelled = service.beginLock(name, sessions[1])
            let next = service.beginLock(name, sessions[2])
            cancelled.wait?.cancel()
            #expect(try service.lockStatus(name)?.waiting == 1)
            try service.unlock(name, session: sessions[0])
            _ = try next.answer()
            #expect(!cancelled.isAnswered)
            cancelled.wait?.cancel()
            try service.unlock(name, session: sessions[2])
            #expect(try service.lockStatus(name)?.state == .free)
        }
    }

    @Test(arguments: KeyKind.allCases)
    func `never goes to a client that is not connected any more`(kind: KeyKind) throws {
        try withSegmentName(kind) { service, name in
            let sessions = try (0..<6).map { _ in try service.open() }
            try service.make(name, sessions[0])
            for session in sessions[1...] { try service.join(name, session) }
            try service.take(name, sessions[0])
            let requests = sessions[1...].map { service.beginLock(name, $0) }
            for index in [0, 1, 3] { requests[index].client.hangUp() }
            try service.unlock(name, session: sessions[0])
            _ = try requests[2].answer()
            try service.unlock(name, session: sessions[3])
            _ = try requests[4].answer()
            try service.unlock(name, session: sessions[5])
            for index in [0, 1, 3] { #expect(!requests[index].isAnswered) }
            #expect(try service.lockStatus(name)?.state == .free)
        }
    }

    @Test(arguments: KeyKind.allCases)
    func `goes to the next when its holder's session ends, and not to a session that ended`(
        kind: KeyKind
    ) throws {
        try withSegmentName(kind) { service, name in
            let (holder, gone, next) = (
                try service.open(), try service.open(), try service.open()
            )
            try service.make(name, holder)
            try service.join(name, gone)
            try service.join(name, next)
            let token = try service.take(name, holder)
            let first = service.beginLock(name, gone)
            let second = service.beginLock(name, next)
            #expect(try service.endSession(gone).map(\.unlocked) == [false])
            #expect(try first.refusal() == .sessionGone)
            let releases = try service.endSession(holder)
            #expect(releases.map(\.unlocked) == [true] && releases.map(\.destroyed) == [false])
            #expect(try second.answer().fencingToken > token)
            #expect(first.answers.count == 1)
        }
    }

    @Test(arguments: KeyKind.allCases)
    func `is granted again, with the same token, to the one who holds it`(kind: KeyKind) throws {
        try withSegmentName(kind) { service, name in
            let session = try service.open("mine")
            try service.make(name, session)
            let token = try service.take(name, session)
            #expect(try service.take(name, session) == token)
            #expect(try service.lockStatus(name)?.sessionName == "mine")
            #expect(
                refusal { try service.unlock(name, session: session, token: token + 1) }
                    == .notLocked)
            try service.unlock(name, session: session, token: token)
            #expect(refusal { try service.unlock(name, session: session) } == .notLocked)
        }
    }

    @Test(arguments: KeyKind.allCases)
    func `gives tokens that only grow, to all sessions and over all segments`(kind: KeyKind) throws
    {
        try withSegmentName(kind) { service, name in
            let sessions = try (0..<4).map { _ in try service.open() }
            for session in sessions { try service.make(name, session, ifExists: .attach) }
            let tokens = Reports<FencingToken>()
            runThreads(4) { number in
                for _ in 0..<50 {
                    guard let token = try? service.take(name, sessions[number]) else { return }
                    tokens.add(token)
                    try? service.unlock(name, session: sessions[number])
                }
            }
            // Each was noted while the lock was held, so they stand in the order of the grants.
            #expect(tokens.all == Set(tokens.all).sorted())
            #expect(tokens.count == 200)
        }
    }

    @Test(arguments: [KeyKind.posix])
    func `is lost by its holder when the semaphore is replaced, and goes to who waits`(
        kind: KeyKind
    ) throws {
        try withSegmentName(kind) { service, name in
            let sessions = try (0..<3).map { _ in try service.open() }
            try service.make(name, sessions[0])
            for session in sessions[1...] { try service.join(name, session) }
            let foreign = SegmentLock(ofSegment: try name.key)
            #expect(try foreign.tryLock())
            // Both come while the semaphore is waited for, and the first then holds it.
            let (one, two) = (
                service.beginLock(name, sessions[1]), service.beginLock(name, sessions[2])
            )
            foreign.unlock()
            _ = try one.answer()
            // What Qt's create() does to a key that exists.
            unlink("/dev/shm/sem.\(try name.key.posixName)")
            let maker = SegmentLock(ofSegment: try name.key)
            #expect(try maker.tryLock())
            maker.unlock()
            _ = try two.answer()
            #expect(refusal { try service.unlock(name, session: sessions[1]) } == .notLocked)
            try service.unlock(name, session: sessions[2])
        }
    }

    @Test(arguments: KeyKind.allCases)
    func `broken by an administrator goes to the next`(kind: KeyKind) throws {
        try withSegmentName(kind) { service, name in
            let (holder, next) = (try service.open(), try service.open())
            try service.make(name, holder)
            try service.join(name, next)
            try service.take(name, holder)
            let request = service.beginLock(name, next)
            try service.breakLock(name)
            _ = try request.answer()
            #expect(refusal { try service.unlock(name, session: holder) } == .notLocked)
            try service.unlock(name, session: next)
        }
    }

    @Test(arguments: KeyKind.allCases)
    func `lets work be done under it, in turn with those who hold it`(kind: KeyKind) throws {
        try withSegmentName(kind) { service, name in
            let (holder, other) = (try service.open(), try service.open())
            try service.make(name, holder)
            try service.join(name, other)
            let token = try service.take(name, holder)
            let done = Reports<Int>()
            let client = Client()
            func perform(_ session: Session.ID, _ number: Int, token: FencingToken? = nil) throws {
                let access = try service.access(name, session: session, for: .readWrite)
                let wish = LockWish(
                    isWanted: true, isRequired: true, wait: 10_000, token: token)
                _ = service.perform(on: access, wish, client: client) { result in
                    if case .failure(let error) = result {
                        #expect(error.code == .staleFencingToken)
                        done.add(-number)
                    } else {
                        done.add(number)
                    }
                }
            }
            try perform(other, 2)
            let lock = service.beginLock(name, other)
            try perform(other, 3)
            try perform(holder, 1)
            try perform(holder, 4, token: token)
            try perform(holder, 5, token: token + 1)
            #expect(done.all == [1, 4, -5])
            try service.unlock(name, session: holder)
            _ = try lock.answer()
            #expect(done.all == [1, 4, -5, 2, 3])
        }
    }

    @Test(arguments: KeyKind.allCases)
    func `is given back to a process that waits for it in between two of ours`(kind: KeyKind) throws
    {
        try withSegmentName(kind) { service, name in
            let sessions = try (0..<4).map { _ in try service.open() }
            for session in sessions { try service.make(name, session, ifExists: .attach) }
            let foreign = SegmentLock(ofSegment: try name.key)
            let isDone = Atomic(false)
            let grants = Atomic<Int>(0)
            try service.take(name, sessions[0])
            runThreads(5) { number in
                if number == 4 {
                    _ = try? foreign.lock(until: .now.advanced(byMilliseconds: 20_000))
                    isDone.store(true, ordering: .releasing)
                    foreign.unlock()
                    return
                }
                if number == 0 {
                    // A moment for the other to come to wait; without it there is less to see.
                    usleep(50_000)
                    try? service.unlock(name, session: sessions[0])
                }
                while !isDone.load(ordering: .acquiring) {
                    guard (try? service.take(name, sessions[number])) != nil else { return }
                    grants.add(1, ordering: .relaxed)
                    try? service.unlock(name, session: sessions[number])
                }
            }
            #expect(grants.load(ordering: .relaxed) < 100)
        }
    }

    @Test func `is asked for by a session that is attached, and of a segment that has one`() throws
    {
        try withSegmentName(.posix) { service, name in
            let session = try service.open()
            #expect(try service.beginLock(name, session).refusal() == .notFound)
            try service.make(name, session)
            let other = try service.open()
            #expect(try service.beginLock(name, other).refusal() == .notAttached)
            #expect(try service.beginLock(name, .init()).refusal() == .sessionGone)
        }
        try withService { service in
            let identifier = shmget(IPC_PRIVATE, 64, 0o600)
            defer { shmctl(identifier, IPC_RMID, nil) }
            let session = try service.open()
            let name = SegmentName.identifier(identifier)
            try service.join(name, session, onLastDetach: .keep)
            #expect(try service.beginLock(name, session).refusal() == .lockUnsupported)
            let status = try service.lockStatus(existing: name)
            #expect(status == nil)
            #expect(refusal { try service.breakLock(name) } == .lockUnsupported)
        }
    }
}
