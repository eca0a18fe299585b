import Synchronization

/// A number that only grows, counted by any thread and read by whoever wants to know.
///
/// Relaxed: nothing else is concluded from it.
public final class Counter: Sendable {
    private let number = Atomic<Int>(0)

    /// Makes one that stands at zero.
    public init() {}

    /// Counts one, or so many.
    public func add(_ count: Int = 1) { number.add(count, ordering: .relaxed) }

    /// Where it stands.
    public var value: Int { number.load(ordering: .relaxed) }
}

/// A counter for each case of something.
public struct Counters<Case: CaseIterable & Hashable & Sendable>: Sendable
where Case: RawRepresentable, Case.RawValue == Int {
    private let counters = Case.allCases.map { _ in Counter() }

    /// Makes them, each at zero.
    public init() {}

    /// The counter of one case, whose raw value is its place among all.
    public subscript(one: Case) -> Counter { counters[one.rawValue] }
}
