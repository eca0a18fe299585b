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
        let answer = perform { value in
            [
                (-value, false),
                (Self.most, false), (-Self.most, true), (Self.most, true), (-Self.most, false),
                (value, false),
            ]
        }
        return answer == ERANGE
    }

    /// Gives a unit back if this process has one.
    ///
    /// - Returns: Whether it had one.
    func giveBackOwnUnit() -> Bool {
        // Carries the adjustment below its limit unless it is positive.
        let answer = perform { value in
            [
                (-value, false),
                (Self.most, true), (-Self.most, false), (2, true), (-2, false),
                (Self.most, false), (-Self.most, true), (1, false), (-1, true),
                (value, false), (1, false),
            ]
        }
        return answer == 0
    }

    /// Does a list of operations that holds for the value as it is now.
    ///
    /// - Parameter operations: Makes the list for a value: changes, and whether the kernel is to undo
    ///   them; a change by 0 is none.
    /// - Returns: 0, or the number of the error when nothing was done.
    private func perform(_ operations: (Int16) -> [(change: Int16, isUndone: Bool)]) -> CInt {
        while true {
            let value = currentValue
            guard value >= 0 else { return EIDRM }
            var list = operations(Int16(clamping: value)).filter { $0.change != 0 }.map {
                sembuf(
                    sem_num: 0, sem_op: $0.change,
                    sem_flg: Int16(IPC_NOWAIT) | ($0.isUndone ? Int16(SEM_UNDO) : 0))
            }
            guard unsafe semop(number, &list, list.count) == -1 else { return 0 }
            let error = errno
            // EAGAIN: somebody took a unit since; another value then: somebody gave one back.
            guard error == EAGAIN || error == ERANGE && currentValue != value || error == EINTR
            else { return error }
        }
    }
}
