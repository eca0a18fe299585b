internal import CMicroHTTPD
internal import Glibc

/// Lets clients in at the listening sockets of one loop, on the loop's thread.
final class Reception {
    private let listeners: [Listener]
    private let admission: Admission
    private let epoll: CInt
    private let firstToken: UInt64
    private let traffic: Traffic?
    private let log: (@Sendable (String) -> Void)?

    /// Descriptors put by for clients, so that some can come when everything else has taken the
    /// rest; the last is for turning others away.
    private var spares: [FileDescriptor] = []
    /// Whether clients wait because they cannot even be turned away.
    private(set) var isPausing = false

    /// How many clients are let in at a time, lest those who are in wait for long.
    private static let batch = 32

    /// How many descriptors are put by.
    private static let spareCount = 8

    /// - Parameters:
    ///   - listeners: The sockets.
    ///   - admission: Says who may come in.
    ///   - epoll: Told to watch the sockets, each by a token from `firstToken` on.
    ///   - firstToken: The token of the first socket.
    ///   - configuration: What else the server was told.
    init(
        _ listeners: [Listener], admission: Admission, epoll: CInt, firstToken: UInt64,
        configuration: Server.Configuration
    ) {
        self.listeners = listeners
        self.admission = admission
        self.epoll = epoll
        self.firstToken = firstToken
        traffic = configuration.traffic
        log = configuration.log
        replenish()
    }

    /// Has the kernel tell of clients that come.
    ///
    /// - Returns: Whether it does, for every socket.
    func open() -> Bool {
        var isOpen = true
        for (token, listener) in zip(firstToken..., listeners) {
            let added = cmicrohttpd_epoll_add(
                epoll, listener.descriptor, cmicrohttpd_readable_by_one, token)
            isOpen = added == 0 && isOpen
        }
        return isOpen
    }

    /// Lets nobody in any more.
    func close() {
        isPausing = false
        for listener in listeners {
            _ = cmicrohttpd_epoll_remove(epoll, listener.descriptor)
        }
    }

    /// Tries again after a pause.
    func resume() {
        replenish()
        guard isPausing else { return }
        close()
        isPausing = !open()
    }

    /// Lets clients in.
    ///
    /// - Parameters:
    ///   - token: The socket at which they wait.
    ///   - welcome: Takes over the socket of each, and says whether it came to a connection.
    func accept(
        at token: UInt64, welcome: (CInt, inout sockaddr_storage, Arrival) -> Bool
    ) {
        guard let listener = listeners.dropFirst(Int(token - firstToken)).first else { return }
        if spares.count < Self.spareCount { replenish() }
        for _ in 0..<Self.batch {
            var address = sockaddr_storage()
            let (socket, number) = admission.alone {
                (unsafe cmicrohttpd_accept(listener.descriptor, &address), errno)
            }
            guard socket >= 0 else {
                switch number {
                case EMFILE where spares.count > 1, ENFILE where spares.count > 1:
                    spares.removeLast()
                    continue
                case EMFILE, ENFILE, ENOBUFS, ENOMEM: turnAway(at: listener, number)
                default: break  // nobody is there, or who was there has left
                }
                return
            }
            let peer = Peer(address, descriptor: socket)
            let arrival: Arrival
            switch admission.judge(peer) {
            case .admitted: arrival = Arrival(peer: peer, refusal: nil)
            case .refused(let fault):
                traffic?.refuse()
                arrival = Arrival(peer: peer, refusal: fault)
            case .turnedAway:
                traffic?.refuse()
                _ = Glibc.close(socket)
                continue
            }
            if !welcome(socket, &address, arrival) { forget(arrival) }
        }
    }

    /// Makes room for others.
    func forget(_ arrival: Arrival) {
        admission.forget(arrival.peer, wasAdmitted: arrival.refusal == nil)
    }

    /// Closes the connection of a client for which there is no descriptor, rather than let it wait
    /// in the kernel for a server that does not answer.
    private func turnAway(at listener: Listener, _ number: CInt) {
        log?("a client is turned away: \(ServerError.reason(number))")
        let isServed = admission.alone {
            spares = []
            var address = sockaddr_storage()
            let socket = unsafe cmicrohttpd_accept(listener.descriptor, &address)
            let isNobodyThere = socket < 0 && errno == EAGAIN
            if socket >= 0 {
                traffic?.refuse()
                _ = Glibc.close(socket)
            }
            fill()
            return socket >= 0 || isNobodyThere
        }
        guard !isServed || spares.isEmpty else { return }
        // The kernel would tell of the same client again and again.
        close()
        isPausing = true
    }

    /// Puts descriptors by, as far as there are any.
    private func replenish() { admission.alone { fill() } }

    private func fill() {
        while spares.count < Self.spareCount,
            let spare = FileDescriptor(unsafe Glibc.open("/dev/null", O_RDONLY | O_CLOEXEC))
        {
            spares.append(spare)
        }
    }
}

/// A connection that has just been accepted.
struct Arrival {
    let peer: Peer
    /// Why it is not served, if there was no room for it.
    let refusal: RequestFault?
}
