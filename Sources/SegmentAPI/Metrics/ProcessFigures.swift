import Glibc

/// What the kernel says of this process, under the names that Prometheus' own clients use.
struct ProcessFigures {
    /// Time on the processors, in nanoseconds.
    let processorTime: UInt64
    let residentByteCount: Int
    let virtualByteCount: Int
    let openFiles: Int
    let openFileLimit: Int
    let threads: Int
    /// Since 1970, in nanoseconds.
    let startTime: UInt64

    /// Looks now.
    ///
    /// - Returns: nil where there is no /proc.
    static var now: ProcessFigures? {
        guard let status = fields(of: "/proc/self/stat"), status.count > 21,
            let boot = bootTime, let files = openFileCount
        else { return nil }
        // After the name, which may hold anything: state is field 3 of proc(5), and the first here.
        func number(_ field: Int) -> UInt64 { UInt64(status[field - 3]) ?? 0 }
        let tick = 1_000_000_000 / UInt64(max(1, sysconf(CInt(_SC_CLK_TCK))))
        return ProcessFigures(
            processorTime: (number(14) + number(15)) * tick,
            residentByteCount: Int(number(24)) * sysconf(CInt(_SC_PAGESIZE)),
            virtualByteCount: Int(number(23)), openFiles: files,
            openFileLimit: Self.openFileLimit, threads: Int(number(20)),
            startTime: boot * 1_000_000_000 + number(22) * tick)
    }

    private static func fields(of path: String) -> [Substring]? {
        guard let text = read(path), let end = text.lastIndex(of: ")") else { return nil }
        return text[text.index(after: end)...].split { $0 == " " || $0 == "\n" }
    }

    /// When the machine started, in seconds since 1970.
    private static let bootTime: UInt64? = {
        guard
            let line = read("/proc/stat")?.split(separator: "\n").first(where: {
                $0.hasPrefix("btime ")
            })
        else { return nil }
        return UInt64(line.dropFirst("btime ".count))
    }()

    private static var openFileLimit: Int {
        var limit = rlimit()
        let kind = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
        return unsafe getrlimit(kind, &limit) == 0 ? Int(clamping: limit.rlim_cur) : 0
    }

    private static var openFileCount: Int? {
        guard let directory = unsafe opendir("/proc/self/fd") else { return nil }
        defer { unsafe closedir(directory) }
        var count = 0
        while unsafe readdir(directory) != nil { count += 1 }
        return count - 3  // itself, `.` and `..`
    }

    private static func read(_ path: String) -> String? {
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        while bytes.count < 1 << 20 {
            let block = unsafe [UInt8](unsafeUninitializedCapacity: 4096) { buffer, count in
                count = unsafe max(0, Glibc.read(descriptor, buffer.baseAddress, buffer.count))
            }
            guard !block.isEmpty else { break }
            bytes += block
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
