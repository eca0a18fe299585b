import Logging
import SegmentService
import SharedMemory

extension StateDirectory {
    /// Opens the file for what must outlive a kill.
    ///
    /// - Parameter logger: Told what is wrong with the one that is there.
    /// - Returns: The open file, and what a predecessor wrote.
    /// - Throws: ``StartError`` when there can be none.
    borrowing func open(_ logger: Logger) throws(StartError) -> StateStore {
        do throws(SystemCallError) {
            let store = try StateStore(statePath)
            for remark in store.remarks { logger.warning("\(remark)") }
            return store
        } catch { throw .failure("cannot use the state file \(statePath): \(error)") }
    }
}

extension Log {
    /// Says what a server that was killed had left.
    func tell(_ report: RecoveryReport) {
        logger.notice(
            "taking over from a server that was killed",
            metadata: [
                "sessions": "\(report.sessionCount)", "attachments": "\(report.attachmentCount)",
                "locks": "\(report.holdCount)", "undone": "\(report.undoneCount)",
                "freed": "\(report.freedCount)",
            ])
        for segment in report.lostSegments {
            logger.warning("a segment is lost", metadata: ["reason": "\(segment)"])
        }
        for segment in report.lostLocks {
            logger.warning("a lock is lost", metadata: ["segment": "\(segment)"])
        }
    }
}
