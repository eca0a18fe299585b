internal import Glibc

/// A block of memory of its own, filled once and then only read.
///
/// It can be sent as a body without being copied.
@safe
public final class OwnedBuffer: @unchecked Sendable {
    // Sendable: the block is written by the initialiser, before anyone else can see it, and lives
    // until the last reference goes.
    private let base: UnsafeMutableRawPointer

    /// How many bytes were written.
    public let byteCount: Int

    /// What it takes of the memory for bodies, where it was one.
    private let share: BodyShare?

    /// Where the memory is lent from, unless it came from `malloc`.
    private let loan: (block: BodyStock.Block, stock: BodyStock)?

    /// The answer whose body it is, where it is one of a loop's stock.
    let home: StockedResponse?

    /// Allocates memory and lets a closure fill it from the start.
    ///
    /// Fails when there is no memory left.
    ///
    /// - Parameters:
    ///   - capacity: How many bytes can be written.
    ///   - fill: Appends the bytes.
    /// - Throws: What `fill` throws; the memory is freed.
    public init?<Failure: Error>(
        capacity: Int,
        fill: (inout OutputRawSpan) throws(Failure) -> Void
    ) throws(Failure) {
        guard let base = unsafe malloc(max(capacity, 1)) else { return nil }
        let block = unsafe UnsafeMutableRawBufferPointer(start: base, count: max(capacity, 0))
        do throws(Failure) { byteCount = try unsafe Self.fill(block, fill) } catch {
            unsafe free(base)
            throw error
        }
        unsafe self.base = base
        share = nil
        loan = nil
        home = nil
    }

    /// Lets a closure fill the body of an answer that was taken from its stock, to the last byte.
    init<Failure: Error>(
        in home: StockedResponse,
        fill: (inout OutputRawSpan) throws(Failure) -> Void
    ) throws(Failure) {
        do throws(Failure) { byteCount = try unsafe Self.fill(home.body, fill) } catch {
            home.giveBack()
            throw error
        }
        precondition(byteCount == home.byteCount, "a body is filled to its last byte")
        unsafe base = home.start
        self.home = home
        share = nil
        loan = nil
    }

    /// Lets a closure fill memory from the start, and counts the bytes.
    private static func fill<Failure: Error>(
        _ block: UnsafeMutableRawBufferPointer,
        _ fill: (inout OutputRawSpan) throws(Failure) -> Void
    ) throws(Failure) -> Int {
        var span = unsafe OutputRawSpan(buffer: block, initializedCount: 0)
        try fill(&span)
        return unsafe span.finalize(for: block)
    }

    /// Takes over memory that came from `malloc`.
    init(owning base: UnsafeMutableRawPointer, byteCount: Int, share: BodyShare?) {
        self.share = share
        unsafe self.base = base
        self.byteCount = byteCount
        loan = nil
        home = nil
    }

    /// Takes over a block that goes back to its stock in the end.
    init(of block: BodyStock.Block, byteCount: Int, from stock: BodyStock, share: BodyShare?) {
        self.share = share
        unsafe base = block.base
        self.byteCount = byteCount
        loan = (block, stock)
        home = nil
    }

    deinit {
        if let home {
            home.giveBack()
        } else if let loan {
            loan.stock.give(loan.block)
        } else {
            unsafe free(base)
        }
    }

    /// Lends the bytes.
    public func withBytes<Result, Failure: Error>(
        _ body: (RawSpan) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try unsafe body(pointer.bytes)
    }

    /// The bytes, for as long as the buffer is referenced.
    var pointer: UnsafeRawBufferPointer {
        unsafe UnsafeRawBufferPointer(start: base, count: byteCount)
    }
}
