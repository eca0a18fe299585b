extension Server {
    /// What a server is told before it starts.
    public struct Configuration: Sendable {
        /// Where to listen.
        public var endpoints: [Endpoint]
        /// What makes TCP endpoints speak TLS; Unix sockets never do.
        public var security: TransportSecurity?
        /// How many loop threads serve the connections.
        public var threads = 1
        /// How many connections there may be at once.
        ///
        /// The request of one more is answered 503, and then closed.
        public var connectionLimit = 1024
        /// How many connections one client may have at once.
        ///
        /// A client is an IPv4 address, the first half of an IPv6 address, or a user at the other
        /// end of Unix sockets. The request of one more is answered 429, and then closed.
        public var connectionLimitPerClient = Int.max
        /// How many bytes of memory a connection gets; bounds the head of a request.
        ///
        /// Bodies arrive in pieces of half to two thirds of it, and all of it is cleared after each request.
        public var connectionMemory = 20 * 1024
        /// How long a connection may be silent, rounded up to whole seconds.
        ///
        /// An exchange that waits for its answer and a stream without news do not count as silent.
        public var idleTimeout = Duration.seconds(60)
        /// How long a request may take to arrive, from its first line to the last byte of its body.
        ///
        /// A client that sends a byte now and then is not silent, but it is stopped by this. So is
        /// one whose connection is new and does not come to a first line.
        public var requestTimeout = Duration.seconds(60)
        /// How many bytes the bodies of all requests together may take, from their first byte until the
        /// handler lets go of them; those up to 64 KiB are not counted.
        ///
        /// A request for whose body there is no room is refused with
        /// ``RequestFault/tooManyBodies(limit:)``.
        public var bodyMemoryLimit = Int.max
        /// How fast a client must take an answer at least, in bytes a second.
        ///
        /// An answer may take ``requestTimeout``, and as much longer as its bytes need at this rate.
        /// Streams are not meant.
        public var minimumRate = 1
        /// How many bytes of an unwanted body are read and dropped to keep a connection.
        public var drainLimit = 1024 * 1024
        /// How many bytes may wait for a slow reader of an ``EventStream`` before it is dropped.
        public var streamBacklog = 256 * 1024
        /// Counts the connections.
        public var traffic: Traffic?
        /// Receives what libmicrohttpd has to say, a line at a time, on a loop thread.
        public var log: (@Sendable (String) -> Void)?

        /// Creates a configuration with defaults for all but the endpoints.
        public init(endpoints: [Endpoint]) {
            self.endpoints = endpoints
        }
    }
}
