import Glibc
import SharedMemory
import Synchronization
import Testing

@testable import SegmentService

@Suite struct `A gate` {
    @Test func `lets one step at a time work on an address`() {
        let gate = Gate()
        let inside = Atomic<Int>(0)
        let done = Atomic<Int>(0)
        let most = Atomic<Int>(0)
        runThreads(8) { _ in
            for _ in 0..<500 {
                gate.run(.systemV(1)) {
                    most.max(inside.add(1, ordering: .relaxed).newValue, ordering: .relaxed)
                    inside.subtract(1, ordering: .relaxed)
                    done.add(1, ordering: .relaxed)
                }
            }
        }
        #expect(most.load(ordering: .relaxed) == 1)
        #expect(done.load(ordering: .relaxed) == 4_000)
    }

    @Test func `keeps the order in which the steps came`() throws {
        let gate = Gate()
        let order = Reports<Int>()
        gate.run(.systemV(1)) {
            for number in 1...100 { gate.run(.systemV(1)) { order.add(number) } }
            order.add(0)
        }
        #expect(order.all == Array(0...100))
    }

    @Test func `does not make a thread wait`() throws {
        let gate = Gate()
        let isEntered = Atomic(false)
        let mayLeave = Atomic(false)
        let late = Reports<Bool>()
        runThreads(2) { number in
            if number == 0 {
                gate.run(.systemV(1)) {
                    isEntered.store(true, ordering: .releasing)
                    while !mayLeave.load(ordering: .acquiring) { usleep(200) }
                }
            } else {
                while !isEntered.load(ordering: .acquiring) { usleep(200) }
                gate.run(.systemV(1)) { late.add(true) }
                #expect(late.count == 0)
                mayLeave.store(true, ordering: .releasing)
            }
        }
        #expect(late.count == 1)
    }

    @Test func `does not hold up another address`() throws {
        let gate = Gate()
        let isEntered = Atomic(false)
        let others = Reports<KernelAddress>()
        runThreads(2) { number in
            if number == 0 {
                gate.run(.systemV(1)) {
                    isEntered.store(true, ordering: .releasing)
                    _ = try? others.wait(count: 3)
                }
            } else {
                while !isEntered.load(ordering: .acquiring) { usleep(200) }
                for address in [
                    KernelAddress.systemV(2), .posix(Array("1".utf8)), .identifier(1),
                ] {
                    gate.run(address) { others.add(address) }
                }
                #expect(others.count == 3)
            }
        }
    }
}
