import MicroHTTP
import SegmentService
import SharedMemory

// What `/metrics` shows, from the requests down to the process. No label grows with keys, sessions
// or clients.

extension SegmentAPI {
    /// The whole page, as things stand.
    var metricsPage: [UInt8] {
        var page = Exposition()
        let census = service.census
        page.family("segmentd_build_info", .gauge, "The version of the program; always 1.")
        page.sample(["version": facts.version], 1)
        writeRequests(to: &page)
        writeConnections(to: &page)
        writeSessions(census, to: &page)
        writeSegments(census, to: &page)
        writeLocks(census, to: &page)
        writeHost(to: &page)
        if let process = ProcessFigures.now { page.write(process) }
        return page.bytes
    }

    private func writeRequests(to page: inout Exposition) {
        let names = Route.all.map(\.template) + ["none"]
        page.family(
            "segmentd_http_requests_total", .counter,
            "Requests that are over, by method, route and status of the answer.")
        for (name, route) in zip(names, requests.routes) {
            for (method, status, count) in route.counts {
                page.sample(
                    ["method": RouteMetrics.methods[method], "route": name, "status": status],
                    count)
            }
        }
        page.family(
            "segmentd_http_request_duration_seconds", .histogram,
            "From the request line to the end of the answer, waiting included.")
        for (name, route) in zip(names, requests.routes) {
            for (method, durations) in zip(RouteMetrics.methods, route.durations)
            where durations.counts.contains(where: { $0 > 0 }) {
                page.histogram(["method": method, "route": name], durations)
            }
        }
        page.family(
            "segmentd_http_requests_refused_total", .counter,
            "Requests that were answered with a problem, by its code.")
        for (code, counter) in zip(Problem.codes, requests.refusals) {
            page.sample(["reason": code], counter.value)
        }
        page.family(
            "segmentd_http_requests_broken_off_total", .counter,
            "Requests that got no answer, or not all of it, by why.")
        for (outcome, counter) in zip(ExchangeRecord.Outcome.failures, requests.unanswered) {
            page.sample(["reason": outcome], counter.value)
        }
        page.family(
            "segmentd_http_response_body_bytes_total", .counter, "Bytes of bodies sent.")
        page.sample(requests.bytesSent.value)
    }

    private func writeConnections(to page: inout Exposition) {
        guard let traffic = facts.transport.traffic else { return }
        page.family("segmentd_http_connections", .gauge, "Connections that are open.")
        page.sample(traffic.openCount)
        page.family("segmentd_http_connections_limit", .gauge, "Connections there may be.")
        page.sample(facts.transport.connectionLimit)
        page.family(
            "segmentd_http_connections_accepted_total", .counter, "Connections accepted.")
        page.sample(traffic.acceptedCount)
        page.family(
            "segmentd_http_connections_refused_total", .counter,
            "Connections closed for lack of room.")
        page.sample(traffic.refusedCount)
    }

    private func writeSessions(_ census: Census, to page: inout Exposition) {
        let metrics = service.metrics
        page.family("segmentd_sessions", .gauge, "Sessions there are.")
        page.sample(census.sessions)
        page.family("segmentd_sessions_limit", .gauge, "Sessions there may be.")
        page.sample(service.configuration.sessionLimit)
        page.family("segmentd_sessions_opened_total", .counter, "Sessions opened.")
        page.sample(metrics.sessionsOpened.value)
        page.family("segmentd_sessions_ended_total", .counter, "Sessions ended, by why.")
        for reason in SessionEnd.allCases {
            page.sample(["reason": reason.word], metrics.sessionsEnded[reason].value)
        }
    }

    private func writeSegments(_ census: Census, to page: inout Exposition) {
        let metrics = service.metrics
        let holdings = census.holdings
        let kinds = SegmentKind.allCases
        page.family("segmentd_attachments", .gauge, "Attachments of all sessions.")
        for kind in kinds {
            page.sample(["type": kind.word], holdings[kind.rawValue].attachments)
        }
        page.family("segmentd_segments", .gauge, "Segments that the service has attached.")
        for kind in kinds { page.sample(["type": kind.word], holdings[kind.rawValue].segments) }
        page.family("segmentd_segment_bytes", .gauge, "Bytes of those segments.")
        for kind in kinds { page.sample(["type": kind.word], holdings[kind.rawValue].byteCount) }
        page.family("segmentd_segments_created_total", .counter, "Segments created here.")
        for kind in kinds {
            page.sample(["type": kind.word], metrics.segmentsCreated[kind].value)
        }
        page.family(
            "segmentd_segments_destroyed_total", .counter,
            "Segments destroyed here, by what brought that about.")
        for reason in SegmentEnd.allCases {
            page.sample(["reason": reason.word], metrics.segmentsDestroyed[reason].value)
        }
        page.family("segmentd_read_bytes_total", .counter, "Bytes of segments read.")
        page.sample(requests.bytesRead.value)
        page.family("segmentd_written_bytes_total", .counter, "Bytes of segments written.")
        page.sample(requests.bytesWritten.value)
    }

    private func writeLocks(_ census: Census, to page: inout Exposition) {
        let metrics = service.metrics
        page.family("segmentd_locks_held", .gauge, "Locks that sessions hold.")
        page.sample(census.locksHeld)
        page.family("segmentd_lock_waiters", .gauge, "Requests that wait for a lock.")
        page.sample(census.lockWaiters)
        page.family(
            "segmentd_lock_wait_seconds", .histogram,
            "How long whoever got a lock had waited for it.")
        page.histogram([:], metrics.lockWait)
        page.family(
            "segmentd_lock_hold_seconds", .histogram, "How long sessions held their locks.")
        page.histogram([:], metrics.lockHold)
        page.family(
            "segmentd_lock_timeouts_total", .counter, "Waits for a lock that ran out.")
        page.sample(metrics.lockTimeouts.value)
        page.family(
            "segmentd_locks_lost_total", .counter,
            "Locks taken away from their holder: broken, or replaced by another process.")
        page.sample(metrics.locksLost.value)
    }

    private func writeHost(to page: inout Exposition) {
        var kinds = SegmentKind.allCases.map { _ in (segments: 0, byteCount: 0, orphans: 0) }
        for segment in service.hostSegments {
            let kind = segment.identifier == nil ? SegmentKind.posix : .systemV
            kinds[kind.rawValue].segments += 1
            kinds[kind.rawValue].byteCount += segment.byteCount
            if segment.isOrphaned { kinds[kind.rawValue].orphans += 1 }
        }
        page.family(
            "segmentd_host_segments", .gauge, "Segments of the host, whoever made them.")
        for kind in SegmentKind.allCases {
            page.sample(["type": kind.word], kinds[kind.rawValue].segments)
        }
        page.family("segmentd_host_segment_bytes", .gauge, "Bytes of those segments.")
        for kind in SegmentKind.allCases {
            page.sample(["type": kind.word], kinds[kind.rawValue].byteCount)
        }
        page.family(
            "segmentd_host_segments_orphaned", .gauge, "Those that nobody has attached.")
        for kind in SegmentKind.allCases {
            page.sample(["type": kind.word], kinds[kind.rawValue].orphans)
        }
        let seen = HostMemory.now
        page.family(
            "segmentd_host_info", .gauge, "Which shared memory this server sees; always 1.")
        page.sample(
            [
                "ipc_namespace": seen.namespace.map { "\($0)" } ?? "",
                "dev_shm": seen.fileSystem?.deviceText ?? "",
            ], 1)
        guard let memory = seen.fileSystem else { return }
        page.family("segmentd_shm_size_bytes", .gauge, "Size of the file system at /dev/shm.")
        page.sample(memory.byteCount)
        page.family("segmentd_shm_free_bytes", .gauge, "What is free of it.")
        page.sample(memory.freeByteCount)
    }
}

extension Exposition {
    fileprivate mutating func write(_ process: ProcessFigures) {
        family("process_cpu_seconds_total", .counter, "Time on the processors.")
        sample(Seconds(nanoseconds: process.processorTime))
        family("process_resident_memory_bytes", .gauge, "Memory in use.")
        sample(process.residentByteCount)
        family("process_virtual_memory_bytes", .gauge, "Addresses in use, segments included.")
        sample(process.virtualByteCount)
        family("process_open_fds", .gauge, "File descriptors in use.")
        sample(process.openFiles)
        family("process_max_fds", .gauge, "File descriptors there may be.")
        sample(process.openFileLimit)
        family("process_threads", .gauge, "Threads.")
        sample(process.threads)
        family("process_start_time_seconds", .gauge, "When the process started, since 1970.")
        sample(Seconds(nanoseconds: process.startTime))
    }
}

extension SegmentKind {
    var word: String { self == .posix ? "posix" : "systemv" }
}

extension SessionEnd {
    fileprivate var word: String {
        switch self {
        case .deleted: "deleted"
        case .expired: "expired"
        case .disconnected: "disconnected"
        case .shutdown: "shutdown"
        }
    }
}

extension SegmentEnd {
    fileprivate var word: String {
        switch self {
        case .detached: "detached"
        case .sessionEnded: "session-ended"
        case .sessionExpired: "session-expired"
        case .sessionDisconnected: "session-disconnected"
        case .shutdown: "shutdown"
        case .peeked: "peeked"
        case .removed: "removed"
        case .forced: "forced"
        }
    }
}
