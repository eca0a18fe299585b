import CSharedMemory
import Glibc

/// What a killed process of this library may have left in /dev/shm, besides segments.
package enum Leftovers {
    /// Frees the semaphores that a process with a mark had taken.
    ///
    /// - Parameters:
    ///   - mark: The mark of a process that is gone.
    ///   - kept: The semaphores that a successor goes on holding, by the names of their files.
    /// - Returns: How many were freed.
    @discardableResult
    package static func freeSemaphores(marked mark: UInt32, but kept: Set<String>) -> Int {
        guard mark != 0 else { return 0 }
        return DirectoryListing.names(in: SharedMemoryFile.directory).count { file in
            guard file.hasPrefix("sem."), !kept.contains(file) else { return false }
            let semaphore = try? POSIXSemaphore.open(named: String(file.dropFirst(4)))
            return semaphore?.giveBack(for: mark) ?? false
        }
    }

    /// Finishes the removal of files whose remover was killed after it had moved the name aside.
    ///
    /// One that a process attached to just then gets its name back, if that is known and still free.
    ///
    /// - Parameter segments: The names that segments had.
    package static func finishRemovals(_ segments: [(name: SegmentName, identity: SegmentIdentity)])
    {
        var names: [FileIdentity: String] = [:]
        for case (.key(let key), .file(let file)) in segments { names[file] = key.posixName }
        for aside in DirectoryListing.names(in: SharedMemoryFile.directory)
        where aside.hasPrefix(SharedMemoryFile.removalPrefix) {
            guard FileStatus(atPath: SharedMemoryFile.path(aside))?.owner == geteuid(),
                let file = try? SharedMemoryFile.open(named: aside, mode: .readOnly)
            else { continue }
            let path = SharedMemoryFile.path(aside)
            // A remover that is alive has a lease of its own, which stands in the way of this one.
            let isRemoved: Bool? = file.whileUnused { unsafe unlink(path) == 0 }
            guard isRemoved == nil, let name = names[file.identity] else { continue }
            _ = unsafe csharedmemory_rename_without_replacing(path, SharedMemoryFile.path(name))
        }
    }
}

extension SegmentName {
    /// Removes the key file and the lock of a segment that is gone, where nobody uses them as far as
    /// the kernel tells.
    ///
    /// - Parameters:
    ///   - keyFile: The file that had made its System V key.
    ///   - semaphore: The kernel's number for its System V semaphore.
    package func removeRemains(keyFile: FileIdentity?, semaphore: Int32?) {
        guard case .key(let key) = self else { return }
        let lock = SegmentLock(ofSegment: key)
        if !key.hasSegment { lock.removeUnlessUsed() }
        lock.removeRemains(semaphore)
        guard !key.hasSegment else { return }
        guard case .systemV(let projectID) = key.type, let keyFile, lock.key.value != key.value
        else { return }
        KeyFile(path: key.value, projectID: projectID, identity: keyFile).remove()
    }
}

/// What was there before a creation began, and what it was about to name: enough for a successor to
/// tell what the creation left when it was killed in the middle.
package struct CreationNotes: Hashable, Sendable {
    /// Whether there was a segment.
    package var hadSegment: Bool
    /// Whether there was a key file of the segment's, for System V.
    package var hadKeyFile: Bool
    /// Whether there was a key file of the lock's, or for POSIX the lock.
    package var hadLockFile: Bool
    /// The file that was about to get the segment's name, for POSIX.
    package var file: FileIdentity?
    /// The kernel's number for the System V semaphore that it made.
    package var semaphore: Int32?

    package init(
        hadSegment: Bool, hadKeyFile: Bool, hadLockFile: Bool, file: FileIdentity?,
        semaphore: Int32? = nil
    ) {
        self.hadSegment = hadSegment
        self.hadKeyFile = hadKeyFile
        self.hadLockFile = hadLockFile
        self.file = file
        self.semaphore = semaphore
    }

    /// Looks at what there is before the segment of a key is created.
    package init(before key: NativeKey) {
        let lock = key.semaphoreKey
        hadSegment = key.hasSegment
        switch key.type {
        case .posix:
            hadKeyFile = false
            hadLockFile =
                SharedMemoryFile.identity(named: POSIXSemaphore.fileName(for: lock.posixName))
                != nil
        case .systemV, .windows:
            hadKeyFile = FileStatus(atPath: key.value) != nil
            hadLockFile = FileStatus(atPath: lock.value) != nil
        }
    }

    /// Removes what a creation left that was killed before anybody was told of the segment.
    ///
    /// What others made, or use by now, stays.
    ///
    /// - Parameters:
    ///   - key: The key of the segment.
    ///   - former: Who was killed.
    package func undo(_ key: NativeKey, by former: FormerHolder) {
        guard (try? key.requireUsable()) != nil else { return }
        let lock = SegmentLock(ofSegment: key)
        defer { lock.removeRemains(semaphore) }
        lock.finishCreation(hadFile: hadLockFile)
        switch key.type {
        case .posix:
            if let file,
                let segment = try? SharedMemoryFile.open(named: key.posixName, mode: .readOnly),
                segment.identity == file
            {
                _ = segment.removeUnlessUsed()
            }
        case .systemV(let projectID):
            guard let keyFile = try? KeyFile.find(key.value, projectID: projectID) else { break }
            if !hadSegment { removeSegment(keyFile, by: former) }
            if !hadKeyFile, shmget(keyFile.key, 0, 0) == -1, lock.key.value != key.value {
                keyFile.remove()
            }
        case .windows: return
        }
        guard !key.hasSegment else { return }
        if !hadLockFile { lock.removeUnlessUsed() }
    }

    private func removeSegment(_ keyFile: KeyFile, by former: FormerHolder) {
        let identifier = shmget(keyFile.key, 0, 0)
        var status = shmid_ds()
        guard identifier != -1, unsafe shmctl(identifier, IPC_STAT, &status) == 0,
            status.shm_nattch == 0,
            status.shm_cpid == 0 || former.processes.contains(status.shm_cpid)
        else { return }
        _ = shmctl(identifier, IPC_RMID, nil)
    }
}
