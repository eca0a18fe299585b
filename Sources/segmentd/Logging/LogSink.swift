import Glibc

/// A queue of lines for one file descriptor, so that whoever logs never waits for a slow reader.
///
/// One thread writes: a first line at once, and then every few milliseconds what has come meanwhile,
/// so that a busy server wakes it seldom. Lines that come while the queue is full are dropped and counted, and the
/// count follows when there is room again.
///
/// `@unchecked Sendable`: everything that changes is touched only while `mutex` is held.
@safe
final class LogSink: @unchecked Sendable {
    private static let byteLimit = 1024 * 1024
    /// How long the thread lets lines gather after it has written some, in microseconds.
    private static let pause: UInt32 = 5_000

    private let descriptor: CInt
    private let describeLoss: @Sendable (Int) -> [UInt8]
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private let condition: UnsafeMutablePointer<pthread_cond_t>
    private var queue: [UInt8] = []
    private var lost = 0
    /// Whether the thread sleeps until a line comes.
    private var isIdle = false
    private var isClosing = false
    private var isClosed = false

    /// Prepares a sink; lines are kept until it starts.
    ///
    /// - Parameters:
    ///   - descriptor: Where the lines go. It stays the caller's.
    ///   - describeLoss: Makes the line that says how many were dropped.
    init(descriptor: CInt, describeLoss: @escaping @Sendable (Int) -> [UInt8]) {
        self.descriptor = descriptor
        self.describeLoss = describeLoss
        unsafe mutex = .allocate(capacity: 1)
        unsafe condition = .allocate(capacity: 1)
        unsafe pthread_mutex_init(mutex, nil)
        var attributes = pthread_condattr_t()
        unsafe pthread_condattr_init(&attributes)
        unsafe pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
        unsafe pthread_cond_init(condition, &attributes)
        unsafe pthread_condattr_destroy(&attributes)
    }

    deinit {
        unsafe pthread_cond_destroy(condition)
        unsafe pthread_mutex_destroy(mutex)
        unsafe condition.deallocate()
        unsafe mutex.deallocate()
    }

    /// Starts the thread, which keeps the sink alive until it is closed.
    ///
    /// - Throws: ``StartError`` when the system has no thread to give.
    func start() throws(StartError) {
        let hold = unsafe Unmanaged.passRetained(self)
        var thread = pthread_t()
        let number = unsafe pthread_create(
            &thread, nil,
            { sink in
                guard let sink = unsafe sink else { return nil }
                unsafe Unmanaged<LogSink>.fromOpaque(sink).takeRetainedValue().run()
                return nil
            }, hold.toOpaque())
        guard number == 0 else {
            unsafe hold.release()
            throw .failure("cannot start a thread: \(StartError.reason(number))")
        }
        pthread_detach(thread)
    }

    /// Queues a line, or counts it if there is no room.
    func append(_ line: [UInt8]) { append(line.span) }

    /// Queues a line, or counts it if there is no room.
    func append(_ line: Span<UInt8>) {
        unsafe pthread_mutex_lock(mutex)
        let mustWake = isIdle
        isIdle = false
        if queue.count + line.count <= Self.byteLimit {
            unsafe line.withUnsafeBufferPointer { unsafe queue.append(contentsOf: $0) }
        } else {
            lost += 1
        }
        unsafe pthread_mutex_unlock(mutex)
        if mustWake { unsafe pthread_cond_broadcast(condition) }
    }

    /// Waits until what is queued has been written, but no longer than the reader deserves.
    func close(withinMilliseconds limit: Int) {
        var deadline = timespec()
        unsafe clock_gettime(CLOCK_MONOTONIC, &deadline)
        let nanoseconds = deadline.tv_nsec + limit % 1_000 * 1_000_000
        deadline.tv_sec += limit / 1_000 + nanoseconds / 1_000_000_000
        deadline.tv_nsec = nanoseconds % 1_000_000_000

        unsafe pthread_mutex_lock(mutex)
        defer { unsafe pthread_mutex_unlock(mutex) }
        isClosing = true
        unsafe pthread_cond_broadcast(condition)
        while !isClosed, unsafe pthread_cond_timedwait(condition, mutex, &deadline) == 0 {}
    }

    // MARK: The thread

    private func run() {
        var batch: [UInt8] = []
        unsafe pthread_mutex_lock(mutex)
        while true {
            while queue.isEmpty && !isClosing {
                isIdle = true
                unsafe pthread_cond_wait(condition, mutex)
            }
            isIdle = false
            guard !queue.isEmpty else { break }
            swap(&batch, &queue)
            var missing = lost
            lost = 0
            unsafe pthread_mutex_unlock(mutex)
            let unwritten = write(batch)
            batch.removeAll(keepingCapacity: true)
            if unwritten == 0, missing > 0, write(describeLoss(missing)) == 0 { missing = 0 }
            unsafe pthread_mutex_lock(mutex)
            if !isClosing {
                unsafe pthread_mutex_unlock(mutex)
                usleep(Self.pause)
                unsafe pthread_mutex_lock(mutex)
            }
            lost += missing + unwritten
        }
        isClosed = true
        unsafe pthread_cond_broadcast(condition)
        unsafe pthread_mutex_unlock(mutex)
    }

    /// Writes lines, and waits for the reader where there is one.
    ///
    /// - Returns: How many lines could not be written.
    private func write(_ lines: [UInt8]) -> Int {
        var rest = lines[...]
        while !rest.isEmpty {
            let count = unsafe rest.withUnsafeBytes { bytes in
                unsafe Glibc.write(descriptor, bytes.baseAddress, bytes.count)
            }
            if count >= 0 {
                rest = rest.dropFirst(count)
                continue
            }
            switch errno {
            case EINTR: continue
            case EAGAIN:
                // Whoever shares the terminal or the pipe with us may have made it so.
                var entry = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                _ = unsafe poll(&entry, 1, -1)
            default: return rest.count { $0 == UInt8(ascii: "\n") }
            }
        }
        return 0
    }
}
