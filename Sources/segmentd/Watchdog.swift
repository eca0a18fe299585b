import MicroHTTP
import SegmentService

/// Tells the service manager that all is well, as long as it is.
///
/// Each time goes round once: the service's timer asks every event loop to come by, and what the
/// last of them does is to tell the manager. A thread that hangs breaks the circle, and the manager
/// starts the program anew.
struct Watchdog {
    private let manager: ServiceManager
    private let service: SegmentService
    private let server: Server
    private let pause: Int64

    /// Starts to tell it, if there is a manager that wants to know.
    static func start(_ manager: ServiceManager?, _ service: SegmentService, _ server: Server) {
        guard let manager, let interval = manager.watchdogInterval else { return }
        // Three times in each interval, so that one late beat is no alarm.
        Watchdog(manager: manager, service: service, server: server, pause: max(1, interval / 3))
            .beat()
    }

    private func beat() {
        _ = service.isDraining  // whoever holds the registry for good is found out as well
        server.whenEveryLoopHasComeBy {
            manager.notify("WATCHDOG=1")
            service.schedule(afterMilliseconds: pause) { beat() }
        }
    }
}
