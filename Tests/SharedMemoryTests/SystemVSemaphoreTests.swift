import Glibc
import Testing

@testable import SharedMemory

@Suite struct `A System V semaphore` {
    @Test func `that was removed is told as one that is gone, whatever it is asked`() throws {
        try withTemporaryDirectory { root in
            let path = "\(root)/lock"
            let (file, _) = try KeyFile.findOrCreate(path, projectID: 81)
            let (semaphore, _) = try SystemVSemaphore.openOrCreate(file, permissions: 0o600)
            #expect(try semaphore.isFree())
            let other = try SystemVSemaphore.open(file)
            other.remove(byForce: true)
            #expect(goneError { () throws(SystemCallError) in _ = try semaphore.isFree() } == EIDRM)
            #expect(goneError { () throws(SystemCallError) in try semaphore.free() } == EIDRM)
            #expect(!semaphore.isCurrent)
        }
    }

    private func goneError(_ body: () throws(SystemCallError) -> Void) -> CInt? {
        do throws(SystemCallError) {
            try body()
            return nil
        } catch { return error.number }
    }
}
