public import SharedMemory
import Synchronization

/// What `create` does with a key that has a segment.
public enum ExistingSegment: String, Sendable, CaseIterable {
    /// It is an error.
    case fail
    /// It is attached to.
    case attach
}

extension SegmentService {
    /// The answer to a request for an attachment: what it is, and whether the segment was made.
    public typealias Attached = (attachment: Attachment, isNew: Bool)

    /// Creates a segment and attaches a session to it.
    ///
    /// - Parameters:
    ///   - name: A key no segment has yet.
    ///   - byteCount: Its size.
    ///   - mode: What the session may do with the bytes.
    ///   - onLastDetach: What becomes of it when this was the last attachment.
    ///   - ifExists: What to do when there is a segment.
    ///   - session: Who attaches.
    ///   - completion: Called with the attachment or ``ServiceError``.
    public func create(
        _ name: SegmentName, byteCount: Int, mode: AccessMode, onLastDetach: LastDetach,
        ifExists: ExistingSegment, session: Session.ID,
        completion: @escaping @Sendable (Result<Attached, ServiceError>) -> Void
    ) {
        do throws(ServiceError) {
            try renew(session)
            guard case .key = name else {
                throw ServiceError(.keyError, "the number in \(name) is the kernel's, no key")
            }
            guard byteCount > 0, byteCount <= configuration.segmentByteLimit else {
                throw ServiceError(
                    .invalidSize,
                    "the size must be 1 to \(configuration.segmentByteLimit) bytes, not \(byteCount)"
                )
            }
            var request = AttachRequest(
                name: name, session: session, mode: mode, onLastDetach: onLastDetach,
                creation: (byteCount, ifExists), completion: completion)
            if let intent = try noteCreation(name) {
                request.intent = intent
                request.completion = { [state] result in
                    state?.release(intent, .creation)
                    completion(result)
                }
            }
            do throws(ServiceError) { try submit(request) } catch {
                request.completion(.failure(error))
            }
        } catch { completion(.failure(error)) }
    }

    /// Attaches a session to a segment that exists.
    ///
    /// - Parameters:
    ///   - name: The segment.
    ///   - session: Who attaches.
    ///   - mode: What the session may do with the bytes.
    ///   - onLastDetach: What becomes of it when this was the last attachment.
    ///   - completion: Called with the attachment or ``ServiceError``.
    public func attach(
        _ name: SegmentName, session: Session.ID, mode: AccessMode, onLastDetach: LastDetach,
        completion: @escaping @Sendable (Result<Attached, ServiceError>) -> Void
    ) {
        do throws(ServiceError) {
            try renew(session)
            try submit(
                AttachRequest(
                    name: name, session: session, mode: mode, onLastDetach: onLastDetach,
                    creation: nil, completion: completion))
        } catch { completion(.failure(error)) }
    }

    /// The attachment of a session to a segment.
    ///
    /// - Parameters:
    ///   - name: The segment.
    ///   - session: Whose.
    /// - Returns: The attachment.
    /// - Throws: ``ServiceError``: `.notAttached`, `.sessionGone`.
    public func attachment(_ name: SegmentName, session: Session.ID) throws(ServiceError)
        -> Attachment
    {
        try renew(session)
        lookAtName(of: try attached(session, to: name) { $1.entry })
        return try attached(session, to: name) { (registry, record) throws(ServiceError) in
            guard let attachment = registry.describe(record, of: session) else { throw .gone }
            return attachment
        }
    }
}
