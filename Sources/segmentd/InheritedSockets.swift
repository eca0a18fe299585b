import Glibc

/// The sockets that whoever started this process has opened for it, as systemd does.
enum InheritedSockets {
    /// The first descriptor that is passed on.
    private static let first: CInt = 3

    /// Takes the sockets over, and their variables out of the environment, lest a child takes them
    /// for its own.
    ///
    /// - Returns: One address for each; none when the variables are not there, or for another
    ///   process.
    /// - Throws: ``StartError`` when the variables cannot be understood.
    static func take() throws(StartError) -> [ListenAddress] {
        let process = take("LISTEN_PID")
        let count = take("LISTEN_FDS")
        let names = take("LISTEN_FDNAMES")
        guard let process, let count else { return [] }
        guard let process = pid_t(process), process > 0 else {
            throw .usage("LISTEN_PID: '\(process)' is not a process id")
        }
        guard process == getpid() else { return [] }
        guard let count = CInt(count), (0...1024).contains(count) else {
            throw .usage("LISTEN_FDS: '\(count)' is not a number of descriptors")
        }
        let labels = names?.split(separator: ":", omittingEmptySubsequences: false) ?? []
        return (0..<count).map { index in
            let label = labels.dropFirst(Int(index)).first.map(String.init) ?? ""
            return ListenAddress(inherited: first + index, name: label.isEmpty ? nil : label)
        }
    }

    private static func take(_ name: String) -> String? {
        defer { unsafe unsetenv(name) }
        return unsafe getenv(name).map { unsafe String(cString: $0) }
    }
}
