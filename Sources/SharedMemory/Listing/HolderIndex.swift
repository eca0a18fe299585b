import CSharedMemory
import Glibc

/// Which processes have which files of /dev/shm mapped, as far as /proc shows them to us.
struct HolderIndex {
    private var counts: [UInt64: Int] = [:]

    init() {
        var status = stat()
        guard unsafe lstat(SharedMemoryFile.directory, &status) == 0 else { return }
        let number = UInt64(status.st_dev)
        let major = (number >> 8) & 0xfff | (number >> 32) & ~0xfff
        let minor = number & 0xff | (number >> 12) & ~0xff
        // As a line of the table has it: address permissions offset device inode path
        let device = Array(" \(Self.padded(major)):\(Self.padded(minor)) ".utf8)

        for process in DirectoryListing.names(in: "/proc") where Int(process) != nil {
            guard let maps = FileContents.read("/proc/\(process)/maps") else { continue }
            for inode in Self.inodes(of: device, in: maps) { counts[inode, default: 0] += 1 }
        }
    }

    /// The inode numbers that follow a device in a table of mappings.
    ///
    /// Most processes have thousands of lines and none with that device: those are only searched.
    private static func inodes(of device: [UInt8], in maps: [UInt8]) -> Set<UInt64> {
        var inodes: Set<UInt64> = []
        var index = 0
        while let match = Self.first(device, in: maps, from: index) {
            index = match + device.count
            // Only two fields stand before it: what stands further on is somebody's file name.
            let line = maps[..<match].reversed().prefix { $0 != UInt8(ascii: "\n") }
            guard line.count(where: { $0 == UInt8(ascii: " ") }) == 2 else { continue }
            let digits = maps[index...].prefix { (48...57).contains($0) }
            if let inode = UInt64(String(decoding: digits, as: UTF8.self)) { inodes.insert(inode) }
        }
        return inodes
    }

    private static func first(_ sought: [UInt8], in bytes: [UInt8], from start: Int) -> Int? {
        let offset = unsafe bytes.withUnsafeBytes { all in
            let rest = unsafe UnsafeRawBufferPointer(rebasing: all[start...])
            return unsafe csharedmemory_find(rest.baseAddress, rest.count, sought, sought.count)
        }
        return offset < 0 ? nil : start + offset
    }

    private static func padded(_ number: UInt64) -> String {
        let digits = String(number, radix: 16)
        return digits.utf8.count < 2 ? "0" + digits : digits
    }

    func count(of file: FileIdentity) -> Int { counts[file.inode] ?? 0 }
}
