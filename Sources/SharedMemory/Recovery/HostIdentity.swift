import Glibc

/// Where segments live: what was noted under another identity tells of segments that are gone or out
/// of reach.
package struct HostIdentity: Hashable, Sendable {
    /// The boot, in two words; the IPC namespace; the device of /dev/shm.
    package let words: [UInt64]

    /// That of this process.
    package static var current: HostIdentity {
        let digits = (FileContents.read("/proc/sys/kernel/random/boot_id") ?? [])
            .filter { $0 != UInt8(ascii: "-") && $0 != UInt8(ascii: "\n") }
        let text = String(decoding: digits, as: UTF8.self)
        return HostIdentity(words: [
            UInt64(text.prefix(16), radix: 16) ?? 0, UInt64(text.dropFirst(16), radix: 16) ?? 0,
            status(of: "/proc/self/ns/ipc").map { UInt64($0.st_ino) } ?? 0,
            status(of: SharedMemoryFile.directory).map { UInt64($0.st_dev) } ?? 0,
        ])
    }

    private static func status(of path: String) -> stat? {
        var status = stat()
        return unsafe stat(path, &status) == 0 ? status : nil
    }
}
