/// A reason for which a server cannot start.
public struct ServerError: Error, Sendable, CustomStringConvertible {
    /// A kind of failure, to decide on.
    public struct Code: Hashable, Sendable, CustomStringConvertible {
        /// The name of the kind.
        public let description: String

        /// Someone listens there already.
        public static let addressInUse = Code(description: "address-in-use")
        /// The address is not one of this host.
        public static let addressUnavailable = Code(description: "address-unavailable")
        /// The host or path cannot be an address, or the descriptor does not listen.
        public static let invalidAddress = Code(description: "invalid-address")
        /// The kernel does not allow it.
        public static let permissionDenied = Code(description: "permission-denied")
        /// Descriptors, memory or threads have run out.
        public static let outOfResources = Code(description: "out-of-resources")
        /// The server was started before.
        public static let alreadyStarted = Code(description: "already-started")
        /// Anything else.
        public static let unknown = Code(description: "unknown")
    }

    /// The kind of failure.
    public let code: Code

    /// One sentence for whoever started the server.
    public let description: String
}
