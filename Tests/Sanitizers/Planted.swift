import Glibc

// Two faults, planted so that a sanitizer which reports nothing is known to be awake:
// `scripts/sanitize` wants a report of this program before it runs a test.

/// What two threads write without a lock.
var shared = 0

func race() {
    var other = pthread_t()
    let increment: @convention(c) (UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? = { _ in
        shared += 1
        return nil
    }
    unsafe pthread_create(&other, nil, increment, nil)
    shared += 1
    pthread_join(other, nil)
}

func useAfterFree() {
    let freed = UnsafeMutablePointer<Int>.allocate(capacity: 1)
    unsafe freed.initialize(to: 1)
    unsafe freed.deallocate()
    shared = unsafe freed.pointee
}

if CommandLine.arguments.contains("thread") { race() } else { useAfterFree() }
