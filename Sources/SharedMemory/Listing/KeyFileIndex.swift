import Glibc

/// The key files in the directories where Qt puts them, found by the keys they make.
struct KeyFileIndex {
    private var paths: [UInt32: [String]] = [:]

    init(environment: KeyEnvironment) {
        for directory in Set(environment.keyDirectories) {
            for name in DirectoryListing.names(in: directory) { add("\(directory)/\(name)") }
        }
    }

    private mutating func add(_ path: String) {
        guard let file = FileStatus(atPath: path), file.isRegularFile, file.byteCount == 0,
            !path.contains("/qipc_systemsem_")
        else {
            return
        }
        let key = KeyFile.key(of: file.identity, projectID: 0)
        paths[UInt32(bitPattern: key), default: []].append(path)
    }

    /// The native key of the one file that makes a System V key; `nil` when there is none, or when
    /// two files collide and either could be meant.
    func nativeKey(of key: key_t) -> NativeKey? {
        let projectID = UInt8(UInt32(bitPattern: key) >> 24)
        guard projectID > 0, let found = paths[UInt32(bitPattern: key) & 0xff_ffff],
            found.count == 1, let path = found.first
        else { return nil }
        return NativeKey(path, type: .systemV(projectID: projectID))
    }
}
