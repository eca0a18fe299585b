import CSharedMemory
import Glibc
import Testing

@testable import SegmentService

@Suite struct `A session that is bound to a process` {
    @Test func `ends with it, and not before`() throws {
        try withService { service in
            let child = try Child()
            let process = try #require(child.process())
            let id = try service.openSession(
                name: nil, timeToLive: 100, binding: .process, process: process
            ).id
            usleep(300_000)  // thrice its time to live
            try service.renew(id)
            child.kill()
            try eventually("it ends") { service.sessions.isEmpty }
        }
    }

    @Test func `ends at once when the process is gone already`() throws {
        try withService { service in
            let child = try Child()
            let process = try #require(child.process())
            child.kill()
            _ = try service.openSession(
                name: nil, timeToLive: 60_000, binding: .process, process: process)
            try eventually("it ends") { service.sessions.isEmpty }
        }
    }

    @Test func `shares one descriptor with others of the process, and gives it back`() throws {
        try withService { service in
            let child = try Child()
            let before = descriptorCount()
            let ids = try (0..<100).map { _ in
                try service.openSession(
                    name: nil, timeToLive: 60_000, binding: .process, process: child.process()
                ).id
            }
            try eventually("one is left") { descriptorCount() <= before + 10 }
            for id in ids { try service.endSession(id) }
            try eventually("none is left") { descriptorCount() <= before + 5 }
            child.kill()
        }
    }

    @Test func `is found again by what is known of it, and only it`() throws {
        let child = try Child()
        let identity = try #require(child.process()?.identity)
        #expect(BoundProcess(identity) != nil)
        let other = BoundProcess.Identity(
            number: identity.number, startTime: identity.startTime + 1)
        #expect(BoundProcess(other) == nil)
        child.kill()
        #expect(BoundProcess(identity) == nil)
    }

    @Test func `is not another one that has its number by now`() throws {
        let child = try Child()
        defer { child.kill() }
        var now = timespec()
        unsafe clock_gettime(CLOCK_BOOTTIME, &now)
        let time = UInt64(now.tv_sec) * 1_000_000_000
        let before = BoundProcess(
            owning: csharedmemory_pidfd_open(child.number), number: child.number,
            startedBefore: time - 10_000_000_000)
        #expect(before == nil)
        let after = BoundProcess(
            owning: csharedmemory_pidfd_open(child.number), number: child.number,
            startedBefore: time + 10_000_000_000)
        #expect(after != nil)
    }
}

/// A process that does nothing until it is killed.
private final class Child {
    let number: pid_t

    init() throws {
        var number: pid_t = 0
        let words: [UnsafeMutablePointer<CChar>?] = [strdup("sleep"), strdup("600"), nil]
        defer { for word in words { free(word) } }
        let result = posix_spawnp(&number, "sleep", nil, nil, words, environ)
        try #require(result == 0)
        self.number = number
    }

    func process() -> BoundProcess? {
        BoundProcess(
            owning: csharedmemory_pidfd_open(number), number: number, startedBefore: nil)
    }

    func kill() {
        _ = Glibc.kill(number, SIGKILL)
        _ = waitpid(number, nil, 0)
    }
}

private func descriptorCount() -> Int {
    guard let stream = opendir("/proc/self/fd") else { return -1 }
    defer { closedir(stream) }
    var count = 0
    while readdir(stream) != nil { count += 1 }
    return count
}
