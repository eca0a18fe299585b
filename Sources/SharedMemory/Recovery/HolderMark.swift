package import Glibc
import Synchronization

/// What this process leaves in a POSIX semaphore while it has taken it.
///
/// A System V semaphore names the process that changed it last; a POSIX one names nobody, and keeps
/// its value when its holder is killed. The mark makes up for that: it is written in the step that
/// takes the semaphore, into a word the C library leaves alone, and goes in the step that gives it
/// back. So a successor who knows the mark knows what the dead process held, and that nobody else
/// did.
package enum HolderMark {
    private static let mark = Atomic<UInt32>(0)

    /// The mark; 0, which marks nothing, until one was set.
    package static var current: UInt32 { mark.load(ordering: .relaxed) }

    /// Sets the mark, before anything is locked.
    package static func set(_ value: UInt32) { mark.store(value, ordering: .relaxed) }
}

/// A process that was killed, as the semaphores it held know it.
package struct FormerHolder: Sendable {
    /// Its mark in POSIX semaphores.
    package let mark: UInt32
    /// Its process numbers: its own, and that of a successor that was killed while it took over.
    package let processes: [pid_t]

    package init(mark: UInt32, processes: [pid_t]) {
        self.mark = mark
        self.processes = processes
    }
}
