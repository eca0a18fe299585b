import SharedMemory
import Testing

@testable import SegmentService

@Suite struct `The registry` {
    private let address = KernelAddress.posix(Array("x".utf8))

    private func entry(hadUser: Bool = false) -> Entry {
        Entry(
            address: address, name: .key(NativeKey("/x", type: .posix)), byteCount: 8,
            hadUser: hadUser, wasCreatedHere: false)
    }

    private func record(
        timeToLive: Int64 = 100, binding: Session.Binding = .timeToLive, now: Int64 = 0
    ) -> SessionRecord {
        SessionRecord(
            name: nil, binding: binding, timeToLive: timeToLive,
            createdAt: WallTime(seconds: 0, nanoseconds: 0),
            expiresAt: MonotonicInstant(nanoseconds: now).advanced(byMilliseconds: timeToLive))
    }

    private func refuses(_ grant: LockGrant?) { #expect(grant == nil) }

    private func milliseconds(_ count: Int64) -> MonotonicInstant {
        MonotonicInstant(nanoseconds: count * 1_000_000)
    }

    @Test func `gives fencing tokens that only grow, from the first on`() {
        var registry = Registry(firstToken: 1_000)
        let tokens = (0..<100).map { _ in registry.nextToken() }
        #expect(tokens == Array(1_001...1_100))
    }

    @Test func `leads an address to its newest entry`() {
        var registry = Registry(firstToken: 0)
        let old = registry.insert(entry())
        #expect(registry.current[address] == old)
        registry.supersede(old)
        #expect(registry.current[address] == nil && registry.entries[old] != nil)
        let new = registry.insert(entry())
        #expect(new != old)
        registry.supersede(old)
        #expect(registry.current[address] == new, "an old entry does not take the new one's place")
        _ = registry.remove(old)
        #expect(registry.current[address] == new)
        _ = registry.remove(new)
        #expect(registry.current.isEmpty && registry.entries.isEmpty)
    }

    @Test func `gives back who waited for an entry that goes`() {
        var registry = Registry(firstToken: 0)
        let id = registry.insert(entry())
        let waiter = LockWaiter(session: nil, client: nil, purpose: .hold { _ in })
        registry.entries[id]?.queue.append(waiter)
        let waiters = registry.remove(id)
        #expect(waiters.count == 1 && waiters[0] === waiter)
        let again = registry.remove(id)
        #expect(again.isEmpty)
    }

    @Test func `finds nothing that was removed, nor one for another`() throws {
        var registry = Registry(firstToken: 0)
        let (session, other) = (Session.ID(), Session.ID())
        let (sessionRecord, otherRecord) = (record(), record())
        registry.sessions = [session: sessionRecord, other: otherRecord]
        let one = registry.insert(entry())
        #expect(registry.session(session) === sessionRecord)
        #expect(registry.session(session) === sessionRecord)
        #expect(registry.session(other) === otherRecord)
        #expect(registry.session(Session.ID()) == nil)
        #expect(registry.session(other) === otherRecord)
        registry.remove(other)
        #expect(registry.session(other) == nil && registry.session(session) === sessionRecord)
        #expect(registry.entry(one) === registry.entries[one] && registry.entry(one + 1) == nil)
        _ = registry.remove(one)
        #expect(registry.entry(one) == nil)
    }

    @Test func `grants a lock to a session only while it is attached to that very entry`() throws {
        var registry = Registry(firstToken: 0)
        let id = registry.insert(entry())
        let session = Session.ID()
        refuses(registry.grant(session, id))
        registry.sessions[session] = record()
        refuses(registry.grant(session, id))
        refuses(registry.grant(nil, id))
        registry.sessions[session]?.attachments[address] = AttachmentRecord(
            entry: id, mode: .readWrite, onLastDetach: .destroy, attachedAt: .now)
        let granted = registry.grant(session, id)
        let grant = try #require(granted)
        #expect(grant.fencingToken == 1 && grant.segment == "posix:/x")
        #expect(registry.entries[id]?.queue.holder?.token == 1)
        refuses(registry.grant(session, id + 1))
        registry.isDraining = true
        refuses(registry.grant(session, id))
    }

    @Test func `lets the last to detach decide what becomes of the segment`() {
        var registry = Registry(firstToken: 0)
        let id = registry.insert(entry())
        registry.entries[id]?.sessionCount = 2
        func leave(_ ending: LastDetach) {
            registry.release(
                AttachmentRecord(
                    entry: id, mode: .readOnly, onLastDetach: ending, attachedAt: .now))
        }
        leave(.keep)
        #expect(registry.entries[id]?.isUnused == false)
        leave(.destroy)
        #expect(registry.entries[id]?.isUnused == true)
        #expect(registry.entries[id]?.ending == .destroy)
        registry.entries[id]?.peekCount = 1
        #expect(registry.entries[id]?.isUnused == false)
    }

    @Test func `knows the locks that are held and waited for`() {
        var registry = Registry(firstToken: 0)
        let id = registry.insert(entry())
        registry.entries[id]?.lock = SegmentLock(ofSegment: NativeKey("/x", type: .posix))
        registry.entries[id]?.queue.phase = .held(
            LockHolder(session: .init(), token: 9, acquiredAt: .now))
        #expect(registry.contendedHolders.isEmpty)
        registry.entries[id]?.queue.append(
            LockWaiter(session: nil, client: nil, purpose: .hold { _ in }))
        #expect(registry.contendedHolders.map(\.2) == [9])
    }

    @Test func `finds no attachment of a session that is gone, or that has none`() {
        var registry = Registry(firstToken: 0)
        let session = Session.ID()
        #expect(refusal { _ = try registry.attachment(session, address) } == .sessionGone)
        registry.sessions[session] = record()
        #expect(refusal { _ = try registry.attachment(session, address) } == .notAttached)
        #expect(refusal { _ = try registry.attachment(session, nil) } == .notAttached)
    }

    @Test func `remembers plain keys, but not without end`() {
        var registry = Registry(firstToken: 0)
        for number in 0..<10_000 {
            registry.remember(
                plainKey: "\(number)",
                of: NativeKey("/\(number)", type: .posix, legacyKey: "\(number)"))
        }
        #expect(registry.plainKeys.count <= 4_096)
        #expect(registry.plainKeys[NativeKey("/9999", type: .posix)] == "9999")
    }

    // MARK: Session records

    @Test func `a session expires at its time, and not before`() {
        let record = record(timeToLive: 100)
        #expect(!record.hasExpired(milliseconds(99)))
        #expect(record.hasExpired(milliseconds(100)))
    }

    @Test func `a renewal counts from its own time`() throws {
        var registry = Registry(firstToken: 0)
        let session = Session.ID()
        registry.sessions[session] = record(timeToLive: 100)
        try registry.renew(session, now: milliseconds(70))
        #expect(registry.sessions[session]?.hasExpired(milliseconds(169)) == false)
        #expect(registry.sessions[session]?.hasExpired(milliseconds(170)) == true)
        var other = registry
        #expect(refusal { try other.renew(Session.ID(), now: milliseconds(0)) } == .sessionGone)
    }

    @Test func `a session that is held does not expire`() {
        let record = record(timeToLive: 100)
        record.holdCount = 1
        #expect(!record.hasExpired(milliseconds(100_000)))
    }

    @Test func `a session is looked at when it is due, and not while it is held`() {
        var registry = Registry(firstToken: 0)
        let session = Session.ID()
        #expect(registry.sessions[session] == nil)
        registry.sessions[session] = record(timeToLive: 100)
        let looks = [50, 100, 150].map { registry.nextLook(at: session, now: milliseconds($0)) }
        #expect(looks == [milliseconds(100), milliseconds(100), milliseconds(150)])
        registry.sessions[session]?.holdCount = 1
        let held = registry.nextLook(at: session, now: milliseconds(200))
        #expect(held == nil && registry.sessions[session]?.isWatched == false)
        let unknown = registry.nextLook(at: .init(), now: milliseconds(0))
        #expect(unknown == nil)
    }

    @Test func `an entry is being let go while anybody works for that`() {
        let entry = entry()
        #expect(!entry.isBeingLetGo)
        entry.queue.phase = .busy
        #expect(entry.isBeingLetGo)
        entry.queue.phase = .idle
        entry.afterClosing = []
        #expect(entry.isBeingLetGo)
        entry.sessionCount = 1
        #expect(!entry.isBeingLetGo)
        entry.sessionCount = 0
        entry.afterClosing = nil
        entry.queue.append(
            LockWaiter(session: nil, client: nil, isClient: false, purpose: .hold { _ in }))
        #expect(entry.isBeingLetGo && entry.queue.hasErrand)
        entry.peekCount = 1
        #expect(!entry.isBeingLetGo)
    }

    @Test func `a session forgets an attachment with all names that led to it`() {
        let record = record()
        let other = KernelAddress.systemV(3)
        for (name, address) in [("/x", address), ("//x", address), ("/y", other)] {
            record.addresses[.key(NativeKey(name, type: .posix))] = address
        }
        record.attachments[address] = AttachmentRecord(
            entry: 1, mode: .readWrite, onLastDetach: .keep, attachedAt: .now)
        record.forget(address)
        #expect(record.attachments.isEmpty)
        #expect(Array(record.addresses.values) == [other])
    }

    @Test func `a session is described with the lock it holds and the time it has left`() throws {
        var registry = Registry(firstToken: 4)
        let id = registry.insert(entry())
        let session = Session.ID()
        registry.sessions[session] = record(timeToLive: 1_500)
        registry.sessions[session]?.attachments[address] = AttachmentRecord(
            entry: id, mode: .readWrite, onLastDetach: .keep, attachedAt: .now)
        _ = registry.grant(session, id)
        let described = try #require(
            registry.describe(
                session, now: milliseconds(250),
                wall: WallTime(seconds: 10, nanoseconds: 900_000_000)))
        #expect(described.expiresAt == WallTime(seconds: 12, nanoseconds: 150_000_000))
        #expect(described.attachments.map(\.fencingToken) == [5])
        #expect(described.attachments.map(\.onLastDetach) == [.keep])
    }
}

@Suite struct `A session's id` {
    @Test func `is read back from its text`() {
        let id = Session.ID()
        #expect(Session.ID(id.description) == id)
        #expect(id.description.utf8.count == 32)
        #expect(id.description.hasPrefix(id.abbreviation) && id.abbreviation.utf8.count == 8)
    }

    @Test(arguments: [
        "", "0", String(repeating: "0", count: 31), String(repeating: "0", count: 33),
        "g" + String(repeating: "0", count: 31), String(repeating: "A", count: 32),
        "+" + String(repeating: "0", count: 31), String(repeating: "é", count: 16),
    ])
    func `is nothing else`(text: String) { #expect(Session.ID(text) == nil) }

    @Test func `comes once`() {
        #expect(Set((0..<10_000).map { _ in Session.ID() }).count == 10_000)
    }
}
