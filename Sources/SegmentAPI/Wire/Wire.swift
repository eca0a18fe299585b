package import SegmentService
package import SharedMemory

// How the service's values look to clients. Names and meanings are those of openapi.yaml.

extension WallTime: JSONWritable {
    package func write(to writer: inout JSONWriter) {
        writer.value(Timestamp(seconds: Int(seconds), nanoseconds: Int(nanoseconds)))
    }
}

extension AccessMode {
    static var words: KeyValuePairs<String, AccessMode> {
        ["read_only": .readOnly, "read_write": .readWrite]
    }

    var word: String { self == .readOnly ? "read_only" : "read_write" }
}

extension Attachment: JSONWritable {
    package func write(to writer: inout JSONWriter) {
        writer.object { writer in
            writer.member("segment", segment)
            if hasLostName { writer.member("name_lost", true) }
            writer.member("mode", mode.word)
            writer.member("size", byteCount)
            writer.member("on_last_detach", onLastDetach.rawValue)
            writer.member("attached_at", attachedAt)
            writer.member("locked", fencingToken != nil)
            writer.member("fencing_token", ifPresent: fencingToken)
        }
    }
}

/// A session as its own client sees it, or as others do.
struct SessionView: JSONWritable {
    let session: Session
    let isOwn: Bool
    /// What it is attached to, as far as whoever asks may know of it.
    let attachments: [Attachment]

    init(_ session: Session, isOwn: Bool, to call: Call) {
        self.session = session
        self.isOwn = isOwn
        attachments = call.shown(session.attachments, \.segment)
    }

    func write(to writer: inout JSONWriter) {
        writer.object { writer in
            writer.member("id", isOwn ? session.id.description : session.id.abbreviation)
            writer.member("name", ifPresent: session.name)
            writer.member("bind", session.binding.rawValue)
            writer.member("ttl_ms", session.timeToLive)
            writer.member("created_at", session.createdAt)
            writer.member("expires_at", session.expiresAt)
            writer.member("attachments", attachments)
        }
    }
}

/// An object with one list in it.
struct Listing<Element: JSONWritable>: JSONWritable {
    let name: String
    let elements: [Element]
    var next: String?

    func write(to writer: inout JSONWriter) {
        writer.object { writer in
            writer.member(name, elements)
            writer.member("next_cursor", ifPresent: next)
        }
    }
}

extension Release: JSONWritable {
    package func write(to writer: inout JSONWriter) {
        writer.object { writer in
            writer.member("segment", segment)
            writer.member("unlocked", unlocked)
            writer.member("destroyed", destroyed)
        }
    }
}

extension LockGrant: JSONWritable {
    package func write(to writer: inout JSONWriter) {
        writer.object { writer in
            writer.member("segment", segment)
            writer.member("fencing_token", fencingToken)
            writer.member("acquired_at", acquiredAt)
        }
    }
}

extension LockStatus: JSONWritable {
    package func write(to writer: inout JSONWriter) {
        writer.object { writer in
            writer.member("state", state.rawValue)
            writer.member("session_name", ifPresent: sessionName)
            writer.member("waiting", waiting)
        }
    }
}

/// The answer to a detach.
struct Detached: JSONWritable {
    let segment: String
    let destroyed: Bool

    func write(to writer: inout JSONWriter) {
        writer.object { writer in
            writer.member("segment", segment)
            writer.member("destroyed", destroyed)
        }
    }
}

extension SegmentName {
    /// The path to use for the segment.
    var href: String { "/v1/segments/" + PercentEncoding.encodePathComponent(description) }
}

extension SegmentStatus: JSONWritable {
    package func write(to writer: inout JSONWriter) {
        writer.object { writer in
            writer.member("id", name.description)
            writer.member("href", name.href)
            writer.member("type", description.identifier == nil ? "posix" : "systemv")
            writer.member("native_key", nativeKey)
            writer.member("key", ifPresent: plainKey)
            writer.member("size", description.byteCount)
            writer.member("attachments", description.holderCount)
            writer.member("sessions", sessionCount)
            writer.member("owner") { writer in
                writer.object { writer in
                    writer.member("uid", description.owner.user)
                    writer.member("gid", description.owner.group)
                    writer.member("mode", Self.octal(description.owner.mode))
                }
            }
            writer.member("creator_pid", ifPresent: description.creatorProcess)
            writer.member("created_at", ifPresent: description.createdAt)
            writer.member("lock", orNull: lock)
            writer.member("origin", origin.rawValue)
            writer.member("orphaned", description.isOrphaned)
            writer.member("shmid", ifPresent: description.identifier)
        }
    }

    /// The key without the plain key that Qt made it of, which ``plainKey`` tells.
    private var nativeKey: String {
        guard case .key(let key) = name else { return name.description }
        return NativeKey(key.value, type: key.type).text
    }

    private var plainKey: String? {
        if case .key(let key) = name { key.legacyKey } else { nil }
    }

    private static func octal(_ mode: UInt32) -> String {
        let digits = String(mode, radix: 8)
        return String(repeating: "0", count: max(0, 4 - digits.utf8.count)) + digits
    }
}
