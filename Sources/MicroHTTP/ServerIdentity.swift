internal import Synchronization

/// What new connections of a server speak TLS with, which may be renewed while it runs.
final class ServerIdentity: Sendable {
    private let current: Mutex<TransportSecurity?>

    init(_ security: TransportSecurity?) { current = Mutex(security) }

    var security: TransportSecurity? { current.withLock { $0 } }

    /// Takes what connections are to use from now on; none, if they speak no TLS.
    func replace(_ security: TransportSecurity) {
        current.withLock { if $0 != nil { $0 = security } }
    }
}
