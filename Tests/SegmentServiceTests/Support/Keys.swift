import Glibc
import SharedMemory
import Testing

/// The kinds of key that a rule holds for alike.
enum KeyKind: String, CaseIterable, Sendable, CustomTestStringConvertible {
    case posix, systemV, legacy

    var testDescription: String { rawValue }

    func key(_ plain: String) -> NativeKey {
        switch self {
        case .posix: NativeKey("/\(plain)", type: .posix)
        case .systemV:
            NativeKey(KeyEnvironment.current().temporaryLocation + "/" + plain, type: .systemV)
        case .legacy:
            .legacy(plain, type: .systemV, for: .memory, environment: .current())
        }
    }
}

extension NativeKey {
    /// One that nobody else has.
    static func unused(_ kind: KeyKind) -> NativeKey {
        kind.key("service-test-\(getpid())-\(UInt64.random(in: .min ... .max))")
    }
}

/// The files that a key's segment and semaphore have.
func files(of key: NativeKey) -> [String] {
    [key, key.semaphoreKey].flatMap { key -> [String] in
        switch key.type {
        case .posix: ["/dev/shm/\(key.posixName)", "/dev/shm/sem.\(key.posixName)"]
        default: [key.value]
        }
    }
    .filter { access($0, F_OK) == 0 }
}

/// How often this process maps the memory behind a key.
func mappingCount(of key: NativeKey) throws -> Int {
    let number: UInt
    let file = key.type == .posix ? "/dev/shm" : "/SYSV"  // the two kinds have equal numbers
    switch key.type {
    case .posix:
        var status = stat()
        guard stat("/dev/shm/\(key.posixName)", &status) == 0 else { return 0 }
        number = status.st_ino
    default:
        // A System V mapping shows the segment's number as its inode.
        let identifier = shmget(ftok(key.value, 0x51), 0, 0)
        guard identifier >= 0 else { return 0 }
        number = UInt(identifier)
    }
    return try lines(of: "/proc/self/maps").count { line in
        let fields = line.split(separator: " ")
        guard fields.count > 5, UInt(fields[4]) == number else { return false }
        return fields[5].hasPrefix(file)
    }
}

/// The lines of a file of /proc.
func lines(of path: String) throws -> [String] {
    let file = try #require(fopen(path, "r"))
    defer { fclose(file) }
    var text: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while true {
        let count = fread(&buffer, 1, buffer.count, file)
        guard count > 0 else { break }
        text += buffer[..<count]
    }
    return String(decoding: text, as: UTF8.self).split(separator: "\n").map(String.init)
}

/// The files and sockets that this process has open, each as a descriptor and where it leads.
///
/// What runs the tests may begin to poll and to wait by descriptors of its own at any time; those
/// lead nowhere. What lies in a directory of /dev/shm is of a test that has made that for itself.
func openFiles() throws -> Set<String> {
    let stream = try #require(opendir("/proc/self/fd"))
    defer { closedir(stream) }
    var open: Set<String> = []
    while let entry = readdir(stream) {
        let name = withUnsafeBytes(of: entry.pointee.d_name) {
            String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
        }
        var target = [CChar](repeating: 0, count: 4096)
        let count = readlink("/proc/self/fd/\(name)", &target, target.count)
        let octets = target.prefix(max(0, count)).map { UInt8(bitPattern: $0) }
        let leads = String(decoding: octets, as: UTF8.self)
        let isElsewhere =
            leads.hasPrefix("anon_inode:") || leads.hasSuffix("/fd")
            || leads.hasPrefix("/dev/shm/") && leads.dropFirst("/dev/shm/".count).contains("/")
        if count > 0, !isElsewhere {
            open.insert("\(name) \(leads)")
        }
    }
    return open
}

/// How many entries a directory has.
func entryCount(_ path: String) throws -> Int {
    let stream = try #require(opendir(path))
    defer { closedir(stream) }
    var count = 0
    while readdir(stream) != nil { count += 1 }
    return count
}
