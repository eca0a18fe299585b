import CMicroHTTPD

/// What this program says of itself.
enum Version {
    /// The version, as of semantic versioning.
    static let number = "0.1.0"

    /// The program, its version, and the version of the C library that it runs with.
    static var text: String {
        let library = unsafe MHD_get_version().map { unsafe String(cString: $0) } ?? "unknown"
        return "segmentd \(number) (libmicrohttpd \(library))"
    }
}
