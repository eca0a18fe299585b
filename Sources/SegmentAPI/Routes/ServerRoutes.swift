import COpenAPI
import MicroHTTP
import SegmentService
import SharedMemory

extension SegmentAPI {
    func deriveKeys(_ call: Call) throws(Problem) -> Plan {
        let key = try call.query { (query) throws(QueryError) in try query.requiredString("key") }
        _ = try call.negotiate([.json])
        _ = try attempt { () throws(ServiceError) in try service.name(plainKey: key) }
        let derived = DerivedKeys(key: key, environment: service.configuration.environment)
        return .respond(call.json(200, derived))
    }

    func showServer(_ call: Call) throws(Problem) -> Plan {
        try call.requireNoQuery()
        _ = try call.negotiate([.json])
        return .respond(
            call.json(200, ServerView(facts: facts, configuration: service.configuration)))
    }

    func showLife(_ call: Call) throws(Problem) -> Plan {
        try call.requireNoQuery()
        _ = try call.negotiate([.plainText])
        return .respond(call.text("ok\n"))
    }

    func showReadiness(_ call: Call) throws(Problem) -> Plan {
        try call.requireNoQuery()
        _ = try call.negotiate([.plainText])
        guard !service.isDraining else {
            throw Problem(ServiceError.shuttingDown)
        }
        return .respond(call.text("ok\n"))
    }

    func showMetrics(_ call: Call) throws(Problem) -> Plan {
        try call.requireNoQuery()
        _ = try call.negotiate([.plainText])
        return call.later { [self] completion in
            service.inBackground({ [self] in metricsPage }, completion: completion)
        } answer: { (page: [UInt8]) in
            call.response(200, type: Exposition.contentType, content: .bytes(page))
        }
    }

    func showDocument(_ call: Call) throws(Problem) -> Plan {
        try call.requireNoQuery()
        _ = try call.negotiate([MediaType("application", "yaml"), .plainText])
        return .respond(
            call.response(200, type: "application/yaml", content: .bytes(Self.document)))
    }

    private static let document: [UInt8] = unsafe Array(
        UnsafeRawBufferPointer(start: copenapi_document(), count: copenapi_document_size()))
}

extension Call {
    func text(_ text: String, type: String = "text/plain; charset=utf-8") -> Response {
        response(200, type: type, content: .bytes(Array(text.utf8)))
    }
}

/// The native keys that Qt derives from a plain one.
private struct DerivedKeys: JSONWritable {
    let key: String
    let environment: KeyEnvironment

    func write(to writer: inout JSONWriter) {
        writer.object { writer in
            writer.member("key", key)
            for (name, purpose) in [("memory", KeyPurpose.memory), ("semaphore", .semaphore)] {
                writer.member(name) { writer in
                    writer.object { writer in
                        member("legacy", &writer) {
                            .legacy(key, type: $0, for: purpose, environment: environment)
                        }
                        member("platform_safe", &writer) {
                            .platformSafe(key, type: $0, for: purpose, environment: environment)
                        }
                    }
                }
            }
        }
    }

    private func member(
        _ name: String, _ writer: inout JSONWriter, derive: (KeyType) -> NativeKey
    ) {
        writer.member(name) { writer in
            writer.object { writer in
                writer.member("systemv", derive(.systemV).text)
                writer.member("posix", derive(.posix).text)
            }
        }
    }
}

extension Duration {
    fileprivate var wholeMilliseconds: Int {
        Int(clamping: components.seconds * 1000 + components.attoseconds / 1_000_000_000_000_000)
    }
}

/// What a server tells of itself.
private struct ServerView: JSONWritable {
    let facts: ServerFacts
    let configuration: SegmentService.Configuration

    func write(to writer: inout JSONWriter) {
        writer.object { writer in
            writer.member("name", "segmentd")
            writer.member("version", facts.version)
            writer.member(
                "default_key_type", configuration.defaultKeyType == .posix ? "posix" : "systemv")
            writer.member("limits") { writer in
                writer.object { writer in
                    writer.member("max_segment_bytes", configuration.segmentByteLimit)
                    writer.member("max_body_bytes", facts.bodyByteLimit)
                    writer.member("max_body_memory", facts.transport.bodyMemoryLimit)
                    writer.member("max_json_bytes", Call.jsonByteLimit)
                    writer.member("max_header_bytes", facts.transport.connectionMemory)
                    writer.member("max_segments", configuration.segmentLimit)
                    writer.member("max_total_bytes", configuration.createdByteLimit)
                    writer.member("max_sessions", configuration.sessionLimit)
                    writer.member("max_attachments_per_session", configuration.attachmentLimit)
                    writer.member("max_connections", facts.transport.connectionLimit)
                    writer.member(
                        "max_connections_per_address", facts.transport.connectionLimitPerClient)
                    writer.member(
                        "request_timeout_ms", facts.transport.requestTimeout.wholeMilliseconds)
                    writer.member("min_answer_rate", facts.transport.minimumRate)
                    writer.member(
                        "idle_timeout_ms", facts.transport.idleTimeout.wholeMilliseconds)
                }
            }
            writer.member("shared_memory", HostMemory.now)
            writer.member(
                "features", ["sessions", "locks", "fencing", "peeks", "posix", "systemv"])
        }
    }
}

extension HostMemory: JSONWritable {
    package func write(to writer: inout JSONWriter) {
        writer.object { writer in
            writer.member("ipc_namespace", orNull: namespace)
            guard let fileSystem else { return }
            writer.member("dev_shm") { writer in
                writer.object { writer in
                    writer.member("device", fileSystem.deviceText)
                    writer.member("inode", fileSystem.inode)
                    writer.member("size", fileSystem.byteCount)
                    writer.member("free", fileSystem.freeByteCount)
                    writer.member("in_memory", fileSystem.isInMemory)
                }
            }
        }
    }
}

extension HostMemory.FileSystem {
    /// The device as /proc/self/mountinfo writes it.
    var deviceText: String {
        let major = (device >> 8) & 0xfff | (device >> 32) & ~0xfff
        let minor = device & 0xff | (device >> 12) & ~0xff
        return "\(major):\(minor)"
    }
}
