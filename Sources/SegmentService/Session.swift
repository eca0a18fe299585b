public import SharedMemory

/// One client's stay with the service: what a process is to the kernel.
///
/// A session owns attachments and locks. When it ends, whatever ends it, they go as the kernel
/// takes them from a process that exits.
public struct Session: Sendable {
    /// A secret of 128 random bits; whoever knows it is the session.
    public struct ID: Hashable, Sendable, CustomStringConvertible {
        private let high: UInt64
        private let low: UInt64

        /// A new one that cannot be guessed.
        public init() {
            var generator = SystemRandomNumberGenerator()
            high = generator.next()
            low = generator.next()
        }

        /// Reads the text form.
        ///
        /// - Parameter text: 32 lower-case hexadecimal digits; anything else is no id.
        public init?(_ text: String) {
            self.init(text.utf8.span)
        }

        /// Reads the text form.
        ///
        /// - Parameter digits: 32 lower-case hexadecimal digits; anything else is no id.
        public init?(_ digits: Span<UInt8>) {
            guard digits.count == 32, let high = Self.word(digits.extracting(0..<16)),
                let low = Self.word(digits.extracting(16..<32))
            else { return nil }
            self.high = high
            self.low = low
        }

        private static func word(_ digits: Span<UInt8>) -> UInt64? {
            var word: UInt64 = 0
            for index in digits.indices {
                let byte = digits[index]
                switch byte {
                case UInt8(ascii: "0")...UInt8(ascii: "9"):
                    word = word << 4 | UInt64(byte - UInt8(ascii: "0"))
                case UInt8(ascii: "a")...UInt8(ascii: "f"):
                    word = word << 4 | UInt64(byte - UInt8(ascii: "a") + 10)
                default: return nil
                }
            }
            return word
        }

        /// Makes one of its halves.
        init(high: UInt64, low: UInt64) {
            self.high = high
            self.low = low
        }

        /// Its halves.
        var words: (high: UInt64, low: UInt64) { (high, low) }

        /// 32 lower-case hexadecimal digits.
        public var description: String { Self.digits(high) + Self.digits(low) }

        /// As much of it as may be shown to others and logged.
        public var abbreviation: String { String(Self.digits(high).prefix(8)) }

        private static func digits(_ word: UInt64) -> String {
            let digits = String(word, radix: 16)
            return String(repeating: "0", count: 16 - digits.utf8.count) + digits
        }
    }

    /// What a session's life depends on.
    public enum Binding: String, Sendable, CaseIterable {
        /// On being named by a request within its time to live.
        case timeToLive = "ttl"
        /// On its hold stream, once that is open; until then on the time to live.
        case connection
        /// On the process that opened it.
        case process
    }

    /// The secret.
    public let id: ID
    /// What the client calls itself; shown to others.
    public let name: String?
    /// What its life depends on.
    public let binding: Binding
    /// How long it lives after the last request that named it, in milliseconds.
    public let timeToLive: Int64
    /// When it was opened.
    public let createdAt: WallTime
    /// When it will expire if nobody names it.
    public let expiresAt: WallTime
    /// What it is attached to.
    public let attachments: [Attachment]

    /// The shortest and longest time to live, in milliseconds.
    public static let timesToLive: ClosedRange<Int64> = 100...86_400_000
    /// The time to live of a session that asks for none, in milliseconds.
    public static let defaultTimeToLive: Int64 = 60_000
}

/// One session's hold on one segment.
public struct Attachment: Sendable {
    /// The text form of the segment's name.
    public let segment: String
    /// Whether the name it was attached by leads to it no longer, for another process removed that or
    /// gave it to another segment.
    public let hasLostName: Bool
    /// What the session may do with the bytes.
    public let mode: AccessMode
    /// The size of the segment in bytes.
    public let byteCount: Int
    /// What becomes of the segment when this was the last attachment.
    public let onLastDetach: LastDetach
    /// When it was made.
    public let attachedAt: WallTime
    /// The token of the session's lock on the segment; `nil` when it holds none.
    public let fencingToken: FencingToken?
}

/// What becomes of a segment when its last attachment goes.
public enum LastDetach: String, Sendable, CaseIterable {
    /// It is destroyed, as in Qt.
    case destroy
    /// It stays, without a holder.
    case keep
}

/// A number given with each grant of a lock, larger each time: what is guarded refuses a write
/// with one that is not the holder's.
public typealias FencingToken = UInt64
