internal import CSharedMemory
internal import Glibc

/// A process whose exit ends the sessions that are bound to it.
///
/// Known by a descriptor, which goes on meaning this process whoever gets its number later.
public final class BoundProcess: Sendable {
    /// What tells a process from all others since the system started.
    public struct Identity: Hashable, Sendable {
        /// Its number.
        public let number: Int32
        /// When it started, in the clock ticks of `/proc/PID/stat`.
        public let startTime: UInt64
    }

    /// nil where the system does not let us see when the process started.
    let identity: Identity?
    let descriptor: CInt

    /// Takes over a descriptor of a process.
    ///
    /// Fails if the process is not the one that is meant, for it started too late.
    ///
    /// - Parameters:
    ///   - descriptor: From `pidfd_open` or its like; closed with this value, or if this fails.
    ///   - number: The number of the process.
    ///   - latestStart: When it must have been running already, in nanoseconds of the boot clock;
    ///     nil if the descriptor is beyond doubt.
    public init?(owning descriptor: CInt, number: Int32, startedBefore latestStart: UInt64?) {
        self.descriptor = descriptor
        // What /proc tells is of this process if it is still there afterwards.
        let startTime = Self.startTime(of: number)
        identity =
            Self.hasExited(descriptor)
            ? nil : startTime.map { Identity(number: number, startTime: $0) }
        if let latestStart {
            guard let startTime, startTime <= Self.ticks(latestStart) else { return nil }
        }
    }

    /// Finds a process again, after a restart of this one.
    ///
    /// Fails if it has exited.
    ///
    /// - Parameter identity: What was known of it.
    public init?(_ identity: Identity) {
        descriptor = csharedmemory_pidfd_open(identity.number)
        self.identity = identity
        guard descriptor >= 0, Self.startTime(of: identity.number) == identity.startTime,
            !hasExited
        else { return nil }
    }

    deinit { if descriptor >= 0 { close(descriptor) } }

    /// Whether it has exited by now.
    var hasExited: Bool { Self.hasExited(descriptor) }

    private static func hasExited(_ descriptor: CInt) -> Bool {
        var entry = pollfd(fd: descriptor, events: CShort(POLLIN), revents: 0)
        return unsafe poll(&entry, 1, 0) != 0
    }

    private static func ticks(_ nanoseconds: UInt64) -> UInt64 {
        let perSecond = UInt64(max(1, sysconf(CInt(_SC_CLK_TCK))))
        return nanoseconds / 1_000_000_000 * perSecond
            + nanoseconds % 1_000_000_000 * perSecond / 1_000_000_000
    }

    /// Reads when a process started.
    private static func startTime(of number: Int32) -> UInt64? {
        let file = unsafe open("/proc/\(number)/stat", O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return nil }
        defer { close(file) }
        var bytes = [UInt8](repeating: 0, count: 1024)
        let count = unsafe read(file, &bytes, bytes.count)
        // The name of the program stands in parentheses and may contain anything.
        guard count > 0, let end = bytes[..<count].lastIndex(of: UInt8(ascii: ")")) else {
            return nil
        }
        let fields = bytes[(end + 1)..<count].split(separator: UInt8(ascii: " "))
        // Of all fields it is the 22nd, and two are behind us.
        guard fields.count > 19 else { return nil }
        return UInt64(String(decoding: fields[19], as: UTF8.self))
    }
}
