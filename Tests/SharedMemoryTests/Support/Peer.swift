import Foundation
import Glibc
import SharedMemory
import Testing

/// Another process that reaches segments by the C library's calls alone: a Python script.
///
/// The script finds `segment`, an object for the key it was started with, and talks by lines:
/// what it prints is read by ``line()``, what it reads from its input is sent by ``tell(_:)``.
final class Peer {
    private let process = Process()
    private let input = Pipe()
    private let output = Pipe()

    init(_ key: NativeKey, _ script: String) throws {
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["python3", "-c", Self.prelude + script] + Self.arguments(for: key)
        process.standardInput = input
        process.standardOutput = output
        try process.run()
    }

    private static func arguments(for key: NativeKey) -> [String] {
        switch key.type {
        case .systemV(let projectID):
            ["systemv", key.value, key.semaphoreKey.value, String(projectID)]
        default:
            ["posix", key.posixName, key.semaphoreKey.posixName, "0"]
        }
    }

    /// Waits for the next line that the script prints.
    ///
    /// - Returns: The line; `nil` when the script ended instead.
    func line() -> String? {
        var bytes: [UInt8] = []
        var byte: UInt8 = 0
        while read(output.fileHandleForReading.fileDescriptor, &byte, 1) == 1 {
            if byte == UInt8(ascii: "\n") { return String(decoding: bytes, as: UTF8.self) }
            bytes.append(byte)
        }
        return bytes.isEmpty ? nil : String(decoding: bytes, as: UTF8.self)
    }

    /// Sends the script a line.
    func tell(_ line: String = "") {
        let bytes = Array((line + "\n").utf8)
        _ = write(input.fileHandleForWriting.fileDescriptor, bytes, bytes.count)
    }

    /// Waits for the end of the script.
    ///
    /// - Returns: Its exit status.
    func status() -> Int32 {
        process.waitUntilExit()
        return process.terminationStatus
    }

    /// Lets the script go on to its end.
    ///
    /// - Returns: Its exit status.
    @discardableResult
    func finish() -> Int32 {
        tell()
        return status()
    }

    /// Ends it as a crash would.
    func kill() {
        Glibc.kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
    }

    private static let prelude = """
        import ctypes, mmap, os, signal, sys, time
        signal.alarm(60)
        c = ctypes.CDLL(None, use_errno=True)
        c.sem_open.restype = c.shmat.restype = c.mmap.restype = ctypes.c_void_p
        c.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
        c.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]

        def say(what):
            print(what, flush=True)

        def hear():
            return sys.stdin.readline()

        def view(address, size):
            return (ctypes.c_ubyte * size).from_address(address)

        class POSIX:
            def __init__(self, name, lock, project):
                self.path, self.lock_name = '/dev/shm/' + name, ('/' + lock).encode()
                self.semaphore = None

            def open(self):
                return os.open(self.path, os.O_RDWR | os.O_CLOEXEC)

            def attach(self):
                file = self.open()
                size = os.fstat(file).st_size
                self.bytes = view(c.mmap(None, size, 3, mmap.MAP_SHARED, file, 0), size)
                os.close(file)

            def lock(self):
                if self.semaphore is None:
                    self.semaphore = ctypes.c_void_p(c.sem_open(self.lock_name, os.O_CREAT, 0o600, 1))
                c.sem_wait(self.semaphore)

            def unlock(self):
                c.sem_post(self.semaphore)

        class SystemV:
            def __init__(self, path, lock, project):
                self.path, self.lock_path, self.project = path.encode(), lock.encode(), int(project)

            def attach(self):
                shmid = c.shmget(c.ftok(self.path, self.project), 0, 0)
                if shmid == -1:
                    raise OSError(ctypes.get_errno(), 'shmget')
                self.bytes = view(c.shmat(shmid, None, 0), 4)

            def change(self, amount):
                semid = c.semget(c.ftok(self.lock_path, self.project), 1, 0)
                if c.semop(semid, (ctypes.c_short * 3)(0, amount, 0x1000), 1) == -1:
                    raise OSError(ctypes.get_errno(), 'semop')

            def lock(self):
                self.change(-1)

            def unlock(self):
                self.change(1)

        segment = (SystemV if sys.argv[1] == 'systemv' else POSIX)(*sys.argv[2:5])

        """
}
