import Glibc

/// An instant of the clock that only ever goes forward (`CLOCK_MONOTONIC`).
///
/// Every wait of this library ends at such an instant, so that a change of the wall clock
/// neither prolongs nor cuts it.
public struct MonotonicInstant: Comparable, Hashable, Sendable {
    /// Nanoseconds since a moment that stays fixed while the machine runs.
    public let nanoseconds: Int64

    /// The instant that lies `nanoseconds` after the clock's own beginning.
    public init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }

    /// This moment.
    public static var now: MonotonicInstant {
        var time = Glibc.timespec()
        unsafe clock_gettime(CLOCK_MONOTONIC, &time)
        return MonotonicInstant(
            nanoseconds: Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec))
    }

    /// An instant that never comes.
    public static let distantFuture = MonotonicInstant(nanoseconds: .max)

    /// The instant that lies `milliseconds` after this one, at the latest the distant future.
    public func advanced(byMilliseconds milliseconds: Int64) -> MonotonicInstant {
        let (span, overflow) = milliseconds.multipliedReportingOverflow(by: 1_000_000)
        let (sum, tooFar) = nanoseconds.addingReportingOverflow(span)
        return overflow || tooFar ? .distantFuture : MonotonicInstant(nanoseconds: sum)
    }

    /// Whether the first instant comes before the second.
    public static func < (first: MonotonicInstant, second: MonotonicInstant) -> Bool {
        first.nanoseconds < second.nanoseconds
    }

    var timeSpecification: timespec {
        Glibc.timespec(
            tv_sec: Int(nanoseconds / 1_000_000_000), tv_nsec: Int(nanoseconds % 1_000_000_000))
    }

    /// How long from now, never less than nothing.
    var remaining: timespec {
        MonotonicInstant(nanoseconds: max(0, nanoseconds - Self.now.nanoseconds)).timeSpecification
    }
}

/// A moment of the wall clock, as the kernel and HTTP tell it.
public struct WallTime: Hashable, Sendable {
    /// Whole seconds since 1970-01-01T00:00:00Z.
    public let seconds: Int64

    /// The rest of the second, 0 to 999,999,999.
    public let nanoseconds: Int64

    /// The moment so many seconds and nanoseconds after 1970-01-01T00:00:00Z.
    public init(seconds: Int64, nanoseconds: Int64) {
        self.seconds = seconds
        self.nanoseconds = nanoseconds
    }

    /// This moment.
    public static var now: WallTime { WallTime(by: CLOCK_REALTIME) }

    /// The moment of the kernel's last tick, some milliseconds ago, which costs a fraction of ``now``.
    static var lastTick: WallTime { WallTime(by: CLOCK_REALTIME_COARSE) }

    private init(by clock: clockid_t) {
        var time = Glibc.timespec()
        unsafe clock_gettime(clock, &time)
        self.init(seconds: Int64(time.tv_sec), nanoseconds: Int64(time.tv_nsec))
    }
}

/// Sleeps for a moment; only ever used between two tries of something that another process or
/// thread is about to finish.
package func pause(microseconds: Int) {
    var span = Glibc.timespec(tv_sec: 0, tv_nsec: microseconds * 1_000)
    _ = unsafe nanosleep(&span, nil)
}
