import SharedMemory
import Synchronization

/// The names that paths lately said, already read.
///
/// What a path says never changes, but for the number of a segment, so nothing here gets old: a key
/// that Qt derives takes a digest, and most clients come for the same few segments again and again.
final class NameCache: Sendable {
    private static let capacity = 1024

    private let names = Mutex<[String: KnownName]>([:])

    /// The name that a path said before.
    subscript(text: String) -> KnownName? {
        guard Self.isPlain(text) else { return nil }
        return names.withLock { $0[text] }
    }

    /// Whether texts that Swift calls equal are the same bytes, as they must be to be one name.
    private static func isPlain(_ text: String) -> Bool { text.utf8.allSatisfy { $0 < 0x80 } }

    /// Keeps the name that a path says.
    ///
    /// Begins anew when it is full.
    func remember(_ name: KnownName, of text: String) {
        guard Self.isPlain(text) else { return }
        let old = names.withLock { names -> [String: KnownName] in
            defer { names[text] = name }
            guard names.count >= Self.capacity else { return [:] }
            defer { names = [:] }
            return names
        }
        _ = consume old  // let go of outside the lock
    }
}
