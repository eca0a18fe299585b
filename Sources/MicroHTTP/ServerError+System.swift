internal import Glibc

extension ServerError {
    init(_ code: Code, _ description: String) {
        self.code = code
        self.description = description
    }

    /// Says in words what a system call said by number.
    init(_ number: CInt, _ action: String, _ endpoint: Endpoint) {
        let reason = Self.reason(number)
        switch number {
        case EADDRINUSE:
            self.init(.addressInUse, "Someone listens on \(endpoint) already.")
        case EADDRNOTAVAIL:
            self.init(.addressUnavailable, "\(endpoint) is not an address of this host.")
        case EACCES, EPERM, EROFS:
            self.init(.permissionDenied, "Not allowed to \(action) \(endpoint): \(reason).")
        case EMFILE, ENFILE, ENOBUFS, ENOMEM, ENOSPC:
            self.init(.outOfResources, "Cannot \(action) \(endpoint): \(reason).")
        case ENOENT, ENOTDIR, ENAMETOOLONG, EAFNOSUPPORT, EINVAL:
            self.init(.invalidAddress, "Cannot \(action) \(endpoint): \(reason).")
        default:
            self.init(.unknown, "Cannot \(action) \(endpoint): \(reason).")
        }
    }

    /// The words of the system for an error number.
    static func reason(_ number: CInt) -> String {
        unsafe strerror(number).map { unsafe String(cString: $0) } ?? "\(number)"
    }
}
