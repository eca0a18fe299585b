public import SharedMemory
import Synchronization

/// Sessions, attachments and locks over the segments of this host.
///
/// The service is to HTTP clients what the kernel is to processes: it knows who is attached to
/// what, and gives up for them what they leave behind. It holds one mapping of each segment,
/// whoever uses it, and one system semaphore for each lock.
///
/// Requests that may have to wait take a completion, which is called exactly once, from whichever
/// thread ends the wait, perhaps before the call returns. A client that hung up is not called.
public final class SegmentService: Sendable {
    /// What the operator decides.
    public struct Configuration: Sendable {
        /// The type of the native key behind a plain key.
        public var defaultKeyType: KeyType
        /// Where Qt would look for key files.
        public var environment: KeyEnvironment
        /// The largest segment that may be created, in bytes.
        public var segmentByteLimit: Int
        /// How many segments that this service made there may be at a time.
        public var segmentLimit: Int
        /// How many bytes those may have in all.
        public var createdByteLimit: Int
        /// How many segments a session may be attached to at a time.
        public var attachmentLimit: Int
        /// How many sessions there may be at a time.
        public var sessionLimit: Int

        /// Everything at its default.
        ///
        /// - Parameter environment: Where Qt would look for key files.
        public init(environment: KeyEnvironment) {
            self.environment = environment
            defaultKeyType = .systemV
            segmentByteLimit = 1 << 40
            segmentLimit = 4096
            createdByteLimit = HostMemory.physicalByteCount
            attachmentLimit = 1024
            sessionLimit = 100_000
        }
    }

    /// What the operator decided.
    public let configuration: Configuration

    private let audit: @Sendable (AuditEvent) -> Void

    /// What the service counts as it works.
    public let metrics = ServiceMetrics()

    let registry: Mutex<Registry>
    let gate = Gate()
    private let names = NameCache()
    /// The directory where nearly all key files lie.
    private let keyFiles: KeyFileDirectory
    let timer = Timer()
    let background = Background()
    let processes = ProcessWatcher()
    /// How many threads wait in the kernel for a semaphore.
    let kernelWaits = Atomic<Int>(0)
    /// Where what must outlive a kill is written.
    let state: StateStore?

    /// Prepares a service; nothing runs yet.
    ///
    /// - Parameters:
    ///   - configuration: What the operator decided.
    ///   - state: Where to write what must outlive a kill, and what a predecessor wrote; without
    ///     one, nothing outlives the process.
    ///   - audit: Called when a segment was destroyed, from any thread, which must not be kept.
    public init(
        configuration: Configuration, state: StateStore? = nil,
        audit: @escaping @Sendable (AuditEvent) -> Void = { _ in }
    ) {
        self.configuration = configuration
        keyFiles = KeyFileDirectory(configuration.environment)
        self.state = state
        self.audit = audit
        if let state { HolderMark.set(state.mark) }
        // Fencing tokens must not come again after a restart. Seconds, times more grants a second
        // than there can be, stay below what a JSON number holds exactly until the year 2242.
        // Where the clock was set back, those that were recorded go on.
        let first = UInt64(max(0, WallTime.now.seconds)) << 20
        registry = Mutex(Registry(firstToken: first, state: state))
    }

    /// Starts what runs in the background.
    ///
    /// - Returns: Whether the system had a thread to give.
    public func start() -> Bool {
        timer.start()
            && processes.start { [weak self] session in self?.endBound(session) }
    }

    // MARK: Names

    /// Reads a segment's name as it stands in a path: a native key in its text form, `shmid:` and
    /// a number, `key:` and a plain key, or a plain key.
    ///
    /// - Parameter text: One path component, decoded.
    /// - Returns: The name.
    /// - Throws: ``ServiceError`` with `.keyError`.
    public func name(fromPath text: String) throws(ServiceError) -> KnownName {
        if let known = names[text] { return known }
        let name = try read(path: text)
        guard case .key = name, !text.lowercased().hasPrefix("shmid:") else {
            return KnownName(name, isLasting: false)
        }
        let known = KnownName(name, isLasting: true, keyFile: keyFiles.file(of: name))
        names.remember(known, of: text)
        return known
    }

    private func read(path text: String) throws(ServiceError) -> SegmentName {
        guard let colon = text.firstIndex(of: ":") else { return try name(plainKey: text) }
        let scheme = text[..<colon].lowercased()
        switch scheme {
        case "key":
            return try name(plainKey: String(text[text.index(after: colon)...]))
        case "shmid":
            let digits = text[text.index(after: colon)...]
            guard !digits.isEmpty, digits.utf8.allSatisfy({ (48...57).contains($0) }),
                let identifier = Int32(digits)
            else {
                throw ServiceError(.keyError, "in the name \(text), no number follows shmid:")
            }
            return traced(identifier)
        case "posix", "systemv":
            return try name(nativeKey: text)
        default:
            guard scheme.hasPrefix("systemv-") else { return try name(plainKey: text) }
            return try name(nativeKey: text)
        }
    }

    /// The name of the segment that Qt makes of a plain key.
    ///
    /// - Parameter key: As given to `QSharedMemory::setKey`.
    /// - Returns: The legacy native key of the default type.
    /// - Throws: ``ServiceError`` with `.keyError` when it is empty.
    public func name(plainKey key: String) throws(ServiceError) -> SegmentName {
        guard !key.isEmpty else { throw ServiceError(.keyError, "the key is empty") }
        guard !key.utf8.contains(0) else {
            throw ServiceError(.keyError, "the key contains a NUL character")
        }
        let native = NativeKey.legacy(
            key, type: configuration.defaultKeyType, for: .memory,
            environment: configuration.environment)
        return .key(native)
    }

    /// The name that the text form of a native key says.
    ///
    /// - Parameter text: As `QNativeIpcKey::toString()` gives it.
    /// - Returns: The name.
    /// - Throws: ``ServiceError`` with `.keyError` when the text is malformed or its key cannot
    ///   name a segment here.
    public func name(nativeKey text: String) throws(ServiceError) -> SegmentName {
        guard let key = NativeKey(text: text) else {
            throw ServiceError(.keyError, "the text \(text) is not that of a native key")
        }
        do throws(KeyIssue) { try key.validate() } catch {
            throw ServiceError(.keyError, error.description)
        }
        guard key.type != .posix || !key.posixName.hasPrefix("sem.") else {
            throw ServiceError(.keyError, "the key \(text) names a semaphore, not a segment")
        }
        try configuration.environment.requireKeyDirectory(of: key)
        return .key(key.canonical)
    }

    /// The key of a numbered segment, where its key file lies where Qt puts them.
    private func traced(_ identifier: Int32) -> SegmentName {
        var host = HostSegments(environment: configuration.environment)
        return host.nativeKey(ofSegment: identifier).map { .key(withPlainKey($0)) }
            ?? .identifier(identifier)
    }

    /// The key with the plain key it was derived from, if a client ever said it.
    func withPlainKey(_ key: NativeKey) -> NativeKey {
        guard key.legacyKey == nil, key.hasLegacyName,
            let plain = registry.withLock({ $0.plainKeys[key] })
        else { return key }
        return NativeKey(key.value, type: key.type, legacyKey: plain)
    }

    /// Keeps the plain key of a name for later answers about the same segment.
    func remember(_ name: SegmentName) {
        guard case .key(let key) = name, let plain = key.legacyKey, key.hasLegacyName else {
            return
        }
        registry.withLock { $0.remember(plainKey: plain, of: key) }
    }

    /// Takes note of the end of a segment.
    func note(end: SegmentEnd, of name: SegmentName) {
        metrics.segmentsDestroyed[end].add()
        if case .key(let key) = name { registry.withLock { $0.creations.forget(key) } }
        audit(AuditEvent(endOf: name.description, because: end))
    }

    /// Does something in the registry with a session's attachment to the segment of a name.
    ///
    /// - Parameters:
    ///   - session: The session.
    ///   - name: What leads to the segment.
    ///   - known: The same, where it was read before.
    ///   - body: What to do.
    /// - Returns: What `body` returns.
    /// - Throws: `.sessionGone`; `.notAttached`, or `.notFound` where there is no such segment at
    ///   all; what `body` throws.
    func attached<Result>(
        _ session: Session.ID, to name: SegmentName, known: KnownName? = nil,
        _ body: (inout Registry, AttachmentRecord) throws(ServiceError) -> Result
    ) throws(ServiceError) -> Result {
        do throws(ServiceError) {
            // Nearly always the session came by this name.
            let known = try registry.withLock { (registry) throws(ServiceError) -> Result? in
                guard let record = registry.session(session) else { throw .sessionGone }
                guard let attachment = record.attachment(by: name, known) else { return nil }
                return try body(&registry, attachment)
            }
            if let known { return known }
            let address = try address(of: name, session: nil)
            return try registry.withLock { (registry) throws(ServiceError) -> Result in
                try body(&registry, try registry.attachment(session, address))
            }
        } catch {
            guard error.code == .notAttached else { throw error }
            do throws(SegmentError) { try requireSegment(name) } catch { throw ServiceError(error) }
            throw error
        }
    }

    /// Throws when the host has no such segment.
    func requireSegment(_ name: SegmentName) throws(SegmentError) {
        if case .key(let key) = name, key.hasSegment { return }
        var host = HostSegments(environment: configuration.environment)
        guard host.segment(name) != nil else {
            throw SegmentError(.notFound, key: name.description)
        }
    }

    /// Where a name leads, asking the session's own record first.
    func address(of name: SegmentName, session: Session.ID?) throws(ServiceError) -> KernelAddress?
    {
        if let session, let known = registry.withLock({ $0.sessions[session]?.addresses[name] }) {
            return known
        }
        if let address = keyFiles.file(of: name)?.look() { return address }
        try configuration.environment.requireNoLinks(to: name)
        do throws(SegmentError) {
            if let address = try name.address() { return address }
            return putBack(name) ? try name.address() : nil
        } catch { throw ServiceError(error) }
    }

    /// Where a name that was read before leads.
    func address(of known: KnownName) throws(ServiceError) -> KernelAddress? {
        if let address = known.lastingAddress { return address }
        if let address = known.keyFile?.address { return address }
        return try address(of: known.name, session: nil)
    }
}
