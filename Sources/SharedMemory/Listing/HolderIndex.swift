import Glibc

/// Which processes have which files of /dev/shm mapped, as far as /proc shows them to us.
struct HolderIndex {
    private var counts: [UInt64: Int] = [:]

    init() {
        var status = stat()
        guard unsafe lstat(SharedMemoryFile.directory, &status) == 0 else { return }
        let device = UInt64(status.st_dev)
        let major = (device >> 8) & 0xfff | (device >> 32) & ~0xfff
        let minor = device & 0xff | (device >> 12) & ~0xff
        let numbers = Array(
            "\(Self.padded(major)):\(Self.padded(minor))".utf8)

        for process in DirectoryListing.names(in: "/proc") where Int(process) != nil {
            guard let maps = FileContents.read("/proc/\(process)/maps") else { continue }
            var seen: Set<UInt64> = []
            for line in maps.split(separator: UInt8(ascii: "\n")) {
                // address permissions offset device inode path
                let fields = line.split(separator: UInt8(ascii: " "), maxSplits: 5)
                guard fields.count >= 5, fields[3].elementsEqual(numbers),
                    let inode = UInt64(String(decoding: fields[4], as: UTF8.self))
                else { continue }
                seen.insert(inode)
            }
            for inode in seen { counts[inode, default: 0] += 1 }
        }
    }

    private static func padded(_ number: UInt64) -> String {
        let digits = String(number, radix: 16)
        return digits.utf8.count < 2 ? "0" + digits : digits
    }

    func count(of file: FileIdentity) -> Int { counts[file.inode] ?? 0 }
}
