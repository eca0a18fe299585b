import Glibc

extension KeyEnvironment {
    /// The directories that key files may lie in: Qt's two, and ``moreKeyDirectories``.
    package var keyDirectories: [String] {
        ([temporaryLocation, runtimeLocation(creatingMissing: false)] + moreKeyDirectories)
            .filter { !$0.isEmpty }
    }

    /// Whether a path names something below a directory, by their texts alone.
    package func isPath(_ path: String, below directory: String) -> Bool {
        let path = Self.components(path)
        let directory = Self.components(directory)
        return path.count > directory.count && !path.contains("..") && path.starts(with: directory)
    }

    /// Whether a path, or a directory on the way to it that lies below another, is a symbolic link.
    package func hasLink(_ path: String, below directory: String) -> Bool {
        let components = Self.components(path)
        for count in (Self.components(directory).count + 1)...max(1, components.count) {
            let part = "/" + components.prefix(count).joined(separator: "/")
            if Self.isLink(part) { return true }
        }
        return false
    }

    /// Whether a path is a symbolic link.
    private static func isLink(_ path: String) -> Bool {
        FileStatus(atPath: path)?.isSymbolicLink == true
    }

    private static func components(_ path: String) -> [Substring] {
        path.split(separator: "/").filter { $0 != "." }
    }
}
