import Glibc

/// Taking over what a killed process left of a lock.
extension SegmentLock {
    /// Goes on holding what a former process held, if nobody else had the lock since.
    ///
    /// - Parameter former: Who was killed.
    /// - Returns: Whether the lock is held by this object now.
    package func resume(after former: FormerHolder) -> Bool {
        guard let semaphore = (try? openExisting()) ?? nil, semaphore.resume(after: former) else {
            return false
        }
        keepHeld(semaphore)
        return true
    }

    /// Makes whole what a process that was killed may have begun to make.
    ///
    /// A key file without an array would be left when the segment goes, and an array whose value
    /// was never set would keep everybody waiting.
    ///
    /// - Parameter hadFile: Whether the lock's own key file was there before.
    package func finishCreation(hadFile: Bool = false) {
        if let semaphore = (try? openExisting()) ?? nil {
            semaphore.finishCreation()
        } else if !hadFile, case .systemV(let projectID) = key.type, key.value != segmentKey.value,
            let file = try? KeyFile.find(key.value, projectID: projectID)
        {
            file.remove()
        }
    }

    /// Removes the semaphore, and what names it, where nobody uses it as far as the kernel tells:
    /// for the lock of a segment that is gone.
    package func removeUnlessUsed() {
        guard !segmentKey.hasSegment else { return }
        if let semaphore = (try? openExisting()) ?? nil {
            semaphore.removeUnlessUsed()
            forget(semaphore)
        } else if case .systemV(let projectID) = key.type {
            (try? KeyFile.find(key.value, projectID: projectID))?.remove()
        }
    }

    /// Removes a System V array that this lock had and that is found by its key no more.
    ///
    /// - Parameter number: The kernel's number for it, where it had one.
    func removeRemains(_ number: Int32?) {
        guard let number else { return }
        let current = ((try? openExisting()) ?? nil)?.identifier
        SystemVSemaphore.removeRemains(number, but: current)
    }

    /// The kernel's number for a System V semaphore that is open.
    package var semaphoreIdentifier: Int32? { openSemaphore?.identifier }

    /// The name of the file in /dev/shm that a POSIX lock has.
    package var fileName: String? {
        key.type == .posix ? POSIXSemaphore.fileName(for: key.posixName) : nil
    }
}
