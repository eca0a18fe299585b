package import Glibc

/// Which kernel object a segment is: names can come to lead elsewhere.
package enum SegmentIdentity: Hashable, Sendable {
    case file(FileIdentity)
    case systemV(identifier: CInt, key: key_t)
}

extension Segment {
    /// Which kernel object it is.
    package var identity: SegmentIdentity { memory.identity }

    /// Attaches to a segment that this process's predecessor had attached, and to no other.
    ///
    /// Takes no lock, which a session may be holding: a remover that comes between two steps is
    /// noticed by what is looked at afterwards.
    ///
    /// - Parameters:
    ///   - name: What it was called.
    ///   - identity: Which object it was.
    ///   - keyFile: The file that made its System V key.
    ///   - mode: What this holder may do.
    /// - Returns: The attached segment.
    /// - Throws: ``SegmentError``, with `.notFound` when it is gone or has lost its name for a
    ///   POSIX one.
    package static func reattach(
        _ name: SegmentName, identity: SegmentIdentity, keyFile: FileIdentity?, mode: AccessMode
    ) throws(SegmentError) -> Segment {
        let missing = SystemCallError(call: "open", number: ENOENT)
        do throws(SystemCallError) {
            switch (identity, name) {
            case (.file(let file), .key(let key)):
                guard key.type == .posix else { throw missing }
                return Segment(
                    name: name, lock: SegmentLock(ofSegment: key),
                    memory: try POSIXMemory.reattach(
                        named: key.posixName, identity: file, mode: mode))
            case (.systemV(let identifier, let number), .key(let key)):
                guard case .systemV(let projectID) = key.type, let keyFile else {
                    throw missing
                }
                let file = KeyFile(path: key.value, projectID: projectID, identity: keyFile)
                return Segment(
                    name: name, lock: SegmentLock(ofSegment: key),
                    memory: try SystemVMemory.reattach(
                        identifier: identifier, key: number, keyFile: file, mode: mode))
            case (.systemV(let identifier, let number), .identifier):
                return Segment(
                    name: name, lock: nil,
                    memory: try SystemVMemory.reattach(
                        identifier: identifier, key: number, keyFile: nil, mode: mode))
            case (.file, .identifier):
                throw missing
            }
        } catch {
            if [ENOENT, EINVAL, EIDRM].contains(error.number) {
                throw SegmentError(.notFound, key: name.description, cause: error)
            }
            throw SegmentError(error, key: name.description)
        }
    }
}
