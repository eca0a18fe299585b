import Glibc

/// Runs work on several threads at once and waits for them all.
func runThreads(_ count: Int, _ work: @escaping @Sendable () -> Void) {
    final class Job: Sendable {
        let work: @Sendable () -> Void
        init(_ work: @escaping @Sendable () -> Void) { self.work = work }
    }
    var threads: [pthread_t] = []
    for _ in 0..<count {
        var thread = pthread_t()
        let hold = unsafe Unmanaged.passRetained(Job(work))
        unsafe pthread_create(
            &thread, nil,
            { job in
                if let job = unsafe job {
                    unsafe Unmanaged<Job>.fromOpaque(job).takeRetainedValue().work()
                }
                return nil
            }, hold.toOpaque())
        threads.append(thread)
    }
    for thread in threads { pthread_join(thread, nil) }
}
