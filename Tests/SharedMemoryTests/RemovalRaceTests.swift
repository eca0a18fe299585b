import Glibc
import SharedMemory
import Testing

@Suite struct `Two processes that open a POSIX segment while it comes and goes` {
    // The one opens under the lock, as Qt does; the other does not care for it. Both then look
    // whether what they opened still has its name, as `attach` does here. From then on it is theirs.
    @Test(.serialized, arguments: [true, false])
    func `never hold one that was destroyed`(isLocking: Bool) throws {
        try withTemporaryKey(.posix) { key in
            let peers = try (0..<2).map { _ in try Peer(key, Self.opener) }
            for peer in peers {
                peer.tell(isLocking ? "locking" : "free")
                #expect(peer.line() == "ready")
            }
            let end = MonotonicInstant.now.advanced(byMilliseconds: 1_500)
            var destroyed = 0
            while MonotonicInstant.now < end {
                if try Self.comeAndGo(key) { destroyed += 1 }
            }
            for peer in peers {
                peer.tell("end")
                let counts = try #require(peer.line()).split(separator: " ").compactMap { Int($0) }
                #expect(peer.status() == 0)
                try #require(counts.count == 3)
                #expect(counts[0] > 0, "opened")
                #expect(counts[1] == 0, "held without a name")
                #expect(counts[2] == 0, "took a lock of another generation for the segment's")
            }
            #expect(destroyed > 0)
            if let left = try? Segment.attach(key) { #expect(try left.detach()) }
        }
    }

    /// Creates the segment, or attaches to what an opener kept alive, and lets go of it.
    ///
    /// - Returns: Whether it was destroyed.
    private static func comeAndGo(_ key: NativeKey) throws -> Bool {
        do throws(SegmentError) {
            return try Segment.create(key, byteCount: 4096).detach()
        } catch {
            try #require(error.code == .alreadyExists)
        }
        do throws(SegmentError) {
            return try Segment.attach(key).detach()
        } catch {
            try #require(error.code == .notFound)
            return false
        }
    }

    // Prints how often it had the segment, how often that lost its name meanwhile, and how often
    // the lock taken was replaced while it was held.
    private static let opener = """
        import random, select
        is_locking = hear().strip() == 'locking'
        lock_path = '/dev/shm/sem.' + segment.lock_name.decode()[1:]
        c.sem_open.argtypes = [ctypes.c_char_p, ctypes.c_int]
        c.sem_wait.argtypes = c.sem_post.argtypes = c.sem_close.argtypes = [ctypes.c_void_p]
        opened = ghosts = lost = 0

        def number(path):
            try:
                return os.stat(path).st_ino
            except FileNotFoundError:
                return None

        def take():
            '''The lock, if it is the same before it is opened and after it was had.'''
            before = number(lock_path)
            semaphore = c.sem_open(segment.lock_name, 0)
            if semaphore is None:
                return None
            while c.sem_trywait(ctypes.c_void_p(semaphore)) != 0:
                if number(lock_path) != before:
                    c.sem_close(semaphore)
                    return None
            if before is None or number(lock_path) != before:
                c.sem_post(semaphore)
                c.sem_close(semaphore)
                return None
            return semaphore, before

        def visit():
            global opened, ghosts
            try:
                file = segment.open()
            except FileNotFoundError:
                return
            size = os.fstat(file).st_size
            address = c.mmap(None, size, 3, mmap.MAP_SHARED, file, 0)
            status = os.fstat(file)
            if status.st_nlink > 0 and number(segment.path) == status.st_ino:
                opened += 1
                time.sleep(0.0002)
                ghosts += os.fstat(file).st_nlink == 0
            c.munmap(address, size)
            os.close(file)

        say('ready')
        while not select.select([sys.stdin], [], [], 0)[0]:
            if not is_locking:
                time.sleep(random.random() * 0.002)
                visit()
                continue
            taken = take()
            if taken is None:
                continue
            visit()
            lost += number(lock_path) not in (None, taken[1])
            c.sem_post(taken[0])
            c.sem_close(taken[0])
        say(f'{opened} {ghosts} {lost}')
        """
}
