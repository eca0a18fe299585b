import Dispatch
import Foundation
import Glibc
import SharedMemory
import Synchronization
import Testing

/// Somebody who waits for the lock of a segment, takes it and gives it back.
final class Waiter: Sendable {
    private let done = DispatchSemaphore(value: 0)
    private let gotIt = Atomic(false)

    init(_ key: NativeKey) {
        Thread.detachNewThread { [self] in
            takeAndGiveBack(key)
            done.signal()
        }
    }

    private func takeAndGiveBack(_ key: NativeKey) {
        let lock = SegmentLock(ofSegment: key)
        let taken = try? lock.lock(until: .now.advanced(byMilliseconds: 10_000))
        gotIt.store(taken ?? false, ordering: .releasing)
        lock.unlock()
    }

    /// Waits for the end.
    ///
    /// - Returns: Whether the lock was had.
    func join() -> Bool {
        done.wait()
        return gotIt.load(ordering: .acquiring)
    }
}

/// A process that takes the lock of a segment by the C library's own calls, and keeps it.
final class Child {
    private let process = Process()

    init(locking key: NativeKey) throws {
        let semaphore = key.semaphoreKey
        let call =
            switch semaphore.type {
            case .systemV(let projectID):
                "c.semop(c.semget(c.ftok(b'\(semaphore.value)', \(projectID)), 0, 0), "
                    + "(ctypes.c_short * 3)(0, -1, 0x1000), 1)"
            default:
                "c.sem_wait(ctypes.c_void_p(c.sem_open(b'/\(semaphore.posixName)', 0)))"
            }
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = [
            "python3", "-c",
            "import ctypes, signal; c = ctypes.CDLL(None); "
                + "c.sem_open.restype = ctypes.c_void_p; \(call); signal.alarm(60); signal.pause()",
        ]
        try process.run()
    }

    /// Ends it as a crash would.
    func kill() {
        Glibc.kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
    }
}

/// Sets a System V semaphore as Qt's `create()` does to one that exists.
func setValue(of key: NativeKey, to value: Int) throws {
    guard case .systemV(let projectID) = key.type else { return }
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = [
        "python3", "-c",
        "import ctypes; c = ctypes.CDLL(None); "
            + "c.semctl(c.semget(c.ftok(b'\(key.value)', \(projectID)), 0, 0), 0, 16, \(value))",
    ]
    try process.run()
    process.waitUntilExit()
}

extension SegmentLock {
    /// Whether somebody holds the lock, also where this cannot be told.
    var isTaken: Bool { (try? isFree()) == false }
}
