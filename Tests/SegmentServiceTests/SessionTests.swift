import Glibc
import SharedMemory
import Synchronization
import Testing

@testable import SegmentService

@Suite struct `A session` {
    private func exists(_ id: Session.ID, _ service: SegmentService) -> Bool {
        service.sessions.contains { $0.id == id }
    }

    @Test func `expires within 100 ms of its time`() throws {
        try withService { service in
            var late: [Int64] = []
            for timeToLive in [100, 150, 200, 230, 300] as [Int64] {
                let due = MonotonicInstant.now.advanced(byMilliseconds: timeToLive)
                let id = try service.open(timeToLive: timeToLive)
                try eventually("it expires") { !exists(id, service) }
                late.append(MonotonicInstant.now.nanoseconds - due.nanoseconds)
            }
            #expect(late.min() ?? -1 >= 0)
            #expect(late.sorted()[2] < 100_000_000, "the median of five")
        }
    }

    @Test func `lives for its time from the last request that named it`() throws {
        try withService { service in
            let id = try service.open(timeToLive: 400)
            let start = MonotonicInstant.now
            var last = start
            while last < start.advanced(byMilliseconds: 900) {
                try service.renew(id)
                last = .now
                usleep(50_000)
            }
            #expect(exists(id, service))
            try eventually("it expires") { !exists(id, service) }
            #expect(MonotonicInstant.now >= last.advanced(byMilliseconds: 400))
            #expect(refusal { try service.renew(id) } == .sessionGone)
            #expect(refusal { _ = try service.session(id) } == .sessionGone)
            #expect(refusal { try service.endSession(id) } == .sessionGone)
        }
    }

    @Test func `does not expire while it is held, and lives for its time afterwards`() throws {
        try withService { service in
            let id = try service.open(timeToLive: 100)
            let ends = Reports<Int>()
            try service.beginHold(id) { ends.add(1) }
            try service.beginHold(id) { ends.add(2) }
            usleep(300_000)
            #expect(exists(id, service))
            service.endHold(id)
            usleep(200_000)
            #expect(exists(id, service))
            service.endHold(id)
            let released = MonotonicInstant.now
            #expect(exists(id, service))
            try eventually("it expires") { !exists(id, service) }
            #expect(MonotonicInstant.now >= released.advanced(byMilliseconds: 90))
        }
    }

    @Test func `held again and again is watched by one timer, and keeps nothing of what ended`()
        throws
    {
        final class Stream: Sendable {}
        try withService { service in
            let id = try service.open(timeToLive: 60_000)
            weak var last: Stream?
            for _ in 0..<100 {
                let stream = Stream()
                last = stream
                try service.beginHold(id) { withExtendedLifetime(stream) {} }
                service.endHold(id)
            }
            #expect(service.timer.scheduledCount == 1)
            #expect(last == nil)
        }
    }

    @Test func `held beyond its time, and let go, is watched again`() throws {
        try withService { service in
            let id = try service.open(timeToLive: 100)
            for _ in 0..<3 {
                try service.beginHold(id) {}
                try eventually("no timer looks at it") {
                    service.registry.withLock { $0.sessions[id]?.isWatched == false }
                }
                service.endHold(id)
                #expect(service.timer.scheduledCount == 1)
            }
            try eventually("it expires") { !exists(id, service) }
        }
    }

    @Test func `renewed just as it expires expires later`() throws {
        try withService { service in
            let ids = try (0..<100).map { _ in try service.open(timeToLive: 100) }
            let start = MonotonicInstant.now
            // The last renewals come about when the timer looks.
            runThreads(2) { number in
                while MonotonicInstant.now < start.advanced(byMilliseconds: 130) {
                    for id in ids[(number * 50)..<(number * 50 + 50)] { try? service.renew(id) }
                    usleep(98_000)
                }
            }
            try eventually(within: 3_000, "all expire") { service.sessions.isEmpty }
        }
    }

    @Test func `bound to a connection ends with its last hold, and at once`() throws {
        try withService { service in
            let id = try service.open(binding: .connection)
            try service.beginHold(id) {}
            try service.beginHold(id) {}
            service.endHold(id)
            #expect(exists(id, service))
            service.endHold(id)
            #expect(!exists(id, service))
            service.endHold(id)
        }
    }

    @Test func `bound to a connection expires if that never comes`() throws {
        try withService { service in
            let id = try service.open(timeToLive: 100, binding: .connection)
            try eventually("it expires") { !exists(id, service) }
        }
    }

    @Test func `ends its holds when it ends`() throws {
        try withService { service in
            let id = try service.open()
            let ends = Reports<Int>()
            try service.beginHold(id) { ends.add(1) }
            try service.beginHold(id) { ends.add(2) }
            try service.endSession(id)
            #expect(ends.all.sorted() == [1, 2])
            #expect(refusal { try service.beginHold(id) {} } == .sessionGone)
        }
    }

    @Test func `has as many as allowed beside it, and no more`() throws {
        var configuration = SegmentService.Configuration(environment: .current())
        configuration.sessionLimit = 3
        try withService(configuration) { service in
            let ids = try (0..<3).map { try service.open("\($0)") }
            #expect(refusal { _ = try service.open() } == .tooManySessions)
            try service.endSession(ids[1])
            let id = try service.open("3")
            #expect(service.sessions.map(\.name) == ["0", "2", "3"])
            #expect(service.sessions.last?.id == id)
        }
    }

    @Test(arguments: KeyKind.allCases)
    func `takes with it what it held, in the order it came by it`(kind: KeyKind) throws {
        let keys = (0..<3).map { _ in NativeKey.unused(kind) }
        try withService { service in
            let (id, other) = (try service.open(), try service.open())
            for key in keys { try service.make(.key(key), id) }
            try service.join(.key(keys[1]), other)
            try service.take(.key(keys[2]), id)
            let releases = try service.endSession(id)
            #expect(releases.map(\.segment) == keys.map(\.description))
            #expect(releases.map(\.destroyed) == [true, false, true])
            #expect(releases.map(\.unlocked) == [false, false, true])
            #expect(files(of: keys[0]).isEmpty && files(of: keys[2]).isEmpty)
            #expect(try service.endSession(other).map(\.destroyed) == [true])
        }
        #expect(keys.allSatisfy { files(of: $0).isEmpty })
    }

    @Test(arguments: KeyKind.allCases)
    func `that expires leaves nothing, and its lock to the next`(kind: KeyKind) throws {
        try withSegmentName(kind) { service, name in
            let (short, long) = (try service.open(timeToLive: 200), try service.open())
            try service.make(name, short)
            try service.join(name, long)
            try service.take(name, short)
            let request = service.beginLock(name, long)
            _ = try request.answer()
            #expect(!exists(short, service))
            #expect(try service.drop(name, long))
        }
    }

    @Test(arguments: KeyKind.allCases)
    func `that ends while another process has the lock leaves the rest to later`(kind: KeyKind)
        throws
    {
        try withSegmentName(kind) { service, name in
            let id = try service.open()
            try service.make(name, id)
            let foreign = SegmentLock(ofSegment: try name.key)
            #expect(try foreign.tryLock())
            #expect(try service.endSession(id).map(\.destroyed) == [false])
            let again = try service.open()
            #expect(try service.join(name, again).isNew == false)
            try service.endSession(again)
            #expect(service.entryCount == 1)
            foreign.unlock()
            try eventually("it goes") { service.entryCount == 0 }
            #expect(files(of: try name.key).isEmpty)
        }
    }

    @Test(arguments: KeyKind.allCases)
    func `that ends while it attaches leaves nothing behind`(kind: KeyKind) throws {
        try withSegmentName(kind) { service, name in
            for _ in 0..<100 {
                let id = try service.open()
                let isNew = Reports<Bool>()
                runThreads(2) { number in
                    if number == 0 {
                        _ = try? service.endSession(id)
                        return
                    }
                    do { isNew.add(try service.make(name, id).isNew) } catch {
                        let code = (error as? ServiceError)?.code
                        if code != .sessionGone { Issue.record(error) }
                    }
                }
                #expect(service.entryCount == 0)
                #expect(files(of: try name.key).isEmpty)
            }
        }
    }

    // MARK: The end of the service

    @Test(arguments: KeyKind.allCases)
    func `ends with the service, and its waits before`(kind: KeyKind) throws {
        let key = NativeKey.unused(kind)
        let name = SegmentName.key(key)
        let service = SegmentService(configuration: .init(environment: .current()))
        try #require(service.start())
        let sessions = try (0..<20).map { _ in try service.open() }
        for session in sessions { try service.make(name, session, ifExists: .attach) }
        try service.take(name, sessions[0])
        let locks = sessions[1..<15].map { service.beginLock(name, $0) }
        let detaches = sessions[15...].map { service.beginDetach(name, $0) }
        let ends = Reports<Bool>()
        try service.beginHold(sessions[3]) { ends.add(true) }
        service.shutDown(by: .now.advanced(byMilliseconds: 5_000))
        for request in locks { #expect(try request.refusal() == .shuttingDown) }
        for request in detaches { #expect(try request.refusal() == .shuttingDown) }
        #expect(ends.count == 1)
        #expect(service.sessions.isEmpty && service.entryCount == 0)
        #expect(files(of: key).isEmpty)
        #expect(service.isDraining)
        #expect(refusal { _ = try service.open() } == .shuttingDown)
    }

    @Test(arguments: KeyKind.allCases)
    func `left to a lock that another process holds does not keep the service for ever`(
        kind: KeyKind
    ) throws {
        let key = NativeKey.unused(kind)
        let name = SegmentName.key(key)
        let service = SegmentService(configuration: .init(environment: .current()))
        try #require(service.start())
        try service.make(name, try service.open())
        let foreign = SegmentLock(ofSegment: key)
        #expect(try foreign.tryLock())
        let start = MonotonicInstant.now
        service.shutDown(by: start.advanced(byMilliseconds: 200))
        #expect(MonotonicInstant.now < start.advanced(byMilliseconds: 3_000))
        #expect(service.entryCount == 1)
        foreign.unlock()
        try eventually("the thread that waits for it finishes") { service.entryCount == 0 }
        #expect(files(of: key).isEmpty)
    }
}
