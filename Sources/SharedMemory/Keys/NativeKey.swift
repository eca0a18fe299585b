/// A name by which the operating system knows a segment: what Qt calls a `QNativeIpcKey`.
///
/// A native key is exact. Programs that share a segment pass each other its ``text``, which says
/// the kind of memory as well as the name:
///
/// ```swift
/// let key = NativeKey("/camera", type: .posix)
/// print(key)  // posix:/camera
/// ```
///
/// Applications that name a segment by a plain word derive the native key with
/// ``platformSafe(_:type:for:environment:creatingMissing:)`` or
/// ``legacy(_:type:for:environment:)``.
///
/// Any text makes a key, as in Qt; ``validate(on:)`` tells whether the kernel would take it.
/// Keys are compared byte for byte, for that is how the kernel compares names: a composed and a
/// decomposed é name two segments, though Swift calls the two strings equal.
public struct NativeKey: Sendable {
    /// The kind of memory the key names.
    public var type: KeyType

    /// The name itself: an object's name for POSIX, a key file's path for System V.
    ///
    /// It may be empty, and then names nothing. Setting it, even to the text it has, drops the
    /// ``legacyKey``, which belonged to the old name.
    public var value: String {
        didSet { legacyKey = nil }
    }

    /// The plain key this key was derived from by ``legacy(_:type:for:environment:)``.
    ///
    /// Never empty. It matters to locking: Qt keeps the lock of such a segment under another
    /// name than the segment, see ``semaphoreKey``.
    public private(set) var legacyKey: String?

    /// Makes a key from the name that the operating system is to be told.
    ///
    /// - Parameters:
    ///   - value: The name. It may be empty.
    ///   - type: The kind of memory it names.
    ///   - legacyKey: The plain key that `value` was derived from. An empty one is none.
    public init(_ value: String, type: KeyType, legacyKey: String? = nil) {
        self.type = type
        self.value = value
        self.legacyKey = legacyKey.flatMap { $0.isEmpty ? nil : $0 }
    }
}

extension NativeKey: Hashable {
    /// Tells whether two keys agree in type, value and legacy key, byte for byte.
    ///
    /// - Parameters:
    ///   - lhs: A key.
    ///   - rhs: Another key.
    /// - Returns: Whether they agree. Keys that differ in the legacy key alone are unequal, for
    ///   they name one segment with two different locks.
    public static func == (lhs: NativeKey, rhs: NativeKey) -> Bool {
        guard lhs.type == rhs.type, lhs.value.isSameUTF8(as: rhs.value) else { return false }
        switch (lhs.legacyKey, rhs.legacyKey) {
        case (nil, nil): return true
        case (let left?, let right?): return left.isSameUTF8(as: right)
        default: return false
        }
    }

    /// Hashes the type and the value, but not the legacy key.
    ///
    /// A legacy key is already contained in the value derived from it.
    ///
    /// - Parameter hasher: The hasher to feed.
    public func hash(into hasher: inout Hasher) {
        hasher.combine(type)
        hasher.combine(value)
    }
}
