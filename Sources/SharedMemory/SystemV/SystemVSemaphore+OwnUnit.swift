import Glibc

/// Whether the unit that this process took is still its own.
///
/// Qt's `create()` sets the value of a semaphore that exists (`SETVAL`), whoever has it: that frees
/// it, and the kernel forgets what it would take back from each process at its death, the
/// adjustments of `SEM_UNDO`. To give a unit back all the same would let two in at once; not to give
/// one back that is ours would lose the lock for good. Value, time and process number of a semaphore
/// leave that open within a second.
///
/// The adjustment decides it, but the kernel shows it to nobody. It only refuses, with `ERANGE`, what
/// would carry it or the value beyond their limits; and it does a list of operations as a whole or
/// not at all. So a list that ends where it began, and passes by a limit on its way, asks the
/// question, and one that ends a unit further asks and gives back in the same step.
extension SystemVSemaphore {
    /// The largest value of a semaphore, which an adjustment can reach as well: `SEMVMX`, `SEMAEM`.
    private static let most: Int16 = 32_767

    /// Whether the kernel would give a unit back if this process died now.
    ///
    /// Sees all that this process has taken, by whichever lock.
    var hasOwnUnit: Bool {
        // Carries the adjustment above its limit if it is positive.
        let answer = perform(from: currentValue) { list, value in
            list.add(-value)
            list.add(Self.most)
            list.add(-Self.most, isUndone: true)
            list.add(Self.most, isUndone: true)
            list.add(-Self.most)
            list.add(value)
        }
        return answer == ERANGE
    }

    /// Gives a unit back if this process has one.
    ///
    /// - Parameter value: The value as it was a moment ago.
    /// - Returns: Whether it had one.
    func giveBackOwnUnit(from value: CInt) -> Bool {
        // Carries the adjustment below its limit unless it is positive.
        let answer = perform(from: value) { list, value in
            list.add(-value)
            list.add(Self.most, isUndone: true)
            list.add(-Self.most)
            list.add(2, isUndone: true)
            list.add(-2)
            list.add(Self.most)
            list.add(-Self.most, isUndone: true)
            list.add(1)
            list.add(-1, isUndone: true)
            list.add(value)
            list.add(1)
        }
        return answer == 0
    }

    /// Does a list of operations that holds for the value as it is now.
    ///
    /// - Parameters:
    ///   - value: The value as it was a moment ago.
    ///   - fill: Makes the list for a value.
    /// - Returns: 0, or the number of the error when nothing was done.
    private func perform(
        from value: CInt, _ fill: (inout OperationList, _ value: Int16) -> Void
    ) -> CInt {
        var value = value
        while true {
            guard value >= 0 else { return EIDRM }
            var list = OperationList()
            fill(&list, Int16(clamping: value))
            guard list.perform(on: number) == -1 else { return 0 }
            let error = errno
            // EAGAIN: somebody took a unit since; another value then: somebody gave one back.
            let former = value
            value = currentValue
            guard error == EAGAIN || error == ERANGE && value != former || error == EINTR
            else { return error }
        }
    }
}

/// What the kernel is to do to a semaphore in one step.
private struct OperationList {
    private var operations = InlineArray<11, sembuf>(repeating: sembuf())
    private var count = 0

    /// Appends a change, which the kernel is to undo when this process dies or not; one by 0 is none.
    mutating func add(_ change: Int16, isUndone: Bool = false) {
        guard change != 0 else { return }
        operations[count] = sembuf(
            sem_num: 0, sem_op: change,
            sem_flg: Int16(IPC_NOWAIT) | (isUndone ? Int16(SEM_UNDO) : 0))
        count += 1
    }

    mutating func perform(on number: CInt) -> CInt {
        let count = count
        var span = operations.mutableSpan
        return unsafe span.withUnsafeMutableBufferPointer {
            unsafe semop(number, $0.baseAddress, count)
        }
    }
}
