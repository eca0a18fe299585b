/// A kind of shared memory, which decides what a native key means to the kernel.
///
/// The number Qt gives each kind (`QNativeIpcKey::Type`) is its ``qtID``; the word that begins
/// a key's text form is its ``scheme``.
public enum KeyType: Hashable, Sendable {
    /// POSIX shared memory: the key is the name given to `shm_open`. Qt's id is 256.
    case posix

    /// System V shared memory: the key is the path of a file, which `ftok` turns into a number
    /// together with the project id.
    ///
    /// The project id is also Qt's id for the kind: 1 to 255, and 81 (the letter Q) unless an
    /// application picks its own. Zero is no project id; ``NativeKey/validate(on:)`` says so.
    case systemV(projectID: UInt8)

    /// A Windows file mapping: the key is the name of a kernel object. Qt's id is 257.
    case windows

    /// The project id that Qt uses unless told otherwise: the letter Q.
    public static let defaultProjectID: UInt8 = 81

    /// System V shared memory under the project id that Qt uses unless told otherwise.
    public static let systemV = KeyType.systemV(projectID: defaultProjectID)

    /// Makes the kind that Qt knows by a number.
    ///
    /// - Parameter qtID: A value of `QNativeIpcKey::Type`. Zero, Qt's invalid type, and numbers
    ///   that Qt gives no meaning make no kind.
    public init?(qtID: UInt16) {
        switch qtID {
        case 1...255: self = .systemV(projectID: UInt8(qtID))
        case 256: self = .posix
        case 257: self = .windows
        default: return nil
        }
    }

    /// The number by which Qt knows this kind, a value of `QNativeIpcKey::Type`.
    public var qtID: UInt16 {
        switch self {
        case .posix: 256
        case .systemV(let projectID): UInt16(projectID)
        case .windows: 257
        }
    }
}

extension KeyType: CustomStringConvertible {
    /// The word before the colon of a key's text form: `posix`, `systemv`, `windows`, or
    /// `systemv-N` for a project id other than 81.
    public var scheme: String {
        switch self {
        case .posix: "posix"
        case .systemV(Self.defaultProjectID): "systemv"
        case .systemV(let projectID): "systemv-\(projectID)"
        case .windows: "windows"
        }
    }

    /// The ``scheme``.
    public var description: String { scheme }

    /// Reads the word before the colon of a key's text form, as Qt does.
    ///
    /// - Parameter scheme: The word, in any mix of ASCII upper and lower case. A project id may
    ///   have leading zeros, but no sign and no digits other than ASCII ones.
    public init?(scheme: some StringProtocol) {
        let word = scheme.utf8.map(\.lowercasedASCII)
        switch word {
        case Array("posix".utf8):
            self = .posix
        case Array("systemv".utf8):
            self = .systemV
        case Array("windows".utf8):
            self = .windows
        case _ where word.starts(with: "systemv-".utf8):
            guard let projectID = Self.projectID(digits: word.dropFirst("systemv-".utf8.count))
            else { return nil }
            self = .systemV(projectID: projectID)
        default:
            return nil
        }
    }

    // Not `UInt8.init(_:)`, which takes a sign.
    private static func projectID(digits: some Collection<UInt8>) -> UInt8? {
        guard !digits.isEmpty else { return nil }
        var value: UInt8 = 0
        for digit in digits {
            guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(digit) else { return nil }
            let (tens, isTooLarge) = value.multipliedReportingOverflow(by: 10)
            let (sum, hasCarry) = tens.addingReportingOverflow(digit - UInt8(ascii: "0"))
            guard !isTooLarge, !hasCarry else { return nil }
            value = sum
        }
        return value == 0 ? nil : value
    }
}

extension UInt8 {
    fileprivate var lowercasedASCII: UInt8 {
        (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(self) ? self | 0x20 : self
    }
}
