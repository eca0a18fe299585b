/// The names by which clients may call this server, so that no web page can reach it by a name of
/// the page's own that was made to mean this host.
///
/// Loopback names and addresses are always among them. The port is not looked at: it may have been
/// forwarded.
public struct HostRules: Sendable {
    private let names: [[UInt8]]
    private let allowsAddresses: Bool

    /// Loopback and nothing else.
    public static let loopback = HostRules(names: [] as [[UInt8]], allowsAddresses: false)

    private init(names: [[UInt8]], allowsAddresses: Bool) {
        self.names = names
        self.allowsAddresses = allowsAddresses
    }

    /// Makes the rules; fails when a name cannot be one.
    ///
    /// - Parameters:
    ///   - names: More names and addresses, in any case, without ports; an address of IPv6 with or
    ///     without its brackets.
    ///   - allowsAddresses: Whether any address will do, and only names are looked at: for a
    ///     server that listens on all addresses of its host. No page can give itself an address.
    public init?(names: [String], allowsAddresses: Bool = false) {
        var known: [[UInt8]] = []
        for name in names {
            let isBare = !name.hasPrefix("[") && name.utf8.count { $0 == UInt8(ascii: ":") } > 1
            let bytes = (isBare ? "[\(name)]" : name).utf8.map(\.inLowerCase)
            let dots = bytes.last == UInt8(ascii: ".") ? 1 : 0
            guard let count = HostField(bytes.span)?.count, count == bytes.count - dots else {
                return nil
            }
            known.append(Array(bytes.prefix(count)))
        }
        self.init(names: known, allowsAddresses: allowsAddresses)
    }

    /// Whether a `Host` header names this server.
    func allow(_ field: Span<UInt8>) -> Bool {
        guard let host = HostField(field) else { return false }
        if host.isLoopback(in: field) || host.isAddress(in: field) && allowsAddresses {
            return true
        }
        return names.contains { host.isSame(as: $0, in: field) }
    }
}

/// A `Host` header taken apart, without a copy of it.
private struct HostField {
    /// How many bytes the host has, without the port and the dot at the end of a full name.
    let count: Int
    private let isBracketed: Bool

    /// Reads `name`, `name:port`, `[address]` or `[address]:port`.
    init?(_ field: Span<UInt8>) {
        isBracketed = field.count > 0 && field[0] == UInt8(ascii: "[")
        var end = 0
        while end < field.count {
            let byte = field[end]
            if byte == UInt8(ascii: ":"), !isBracketed { break }
            let isPart = isBracketed ? byte.isAddressCharacter : byte.isHostCharacter
            guard isPart || isBracketed && (end == 0 || byte == UInt8(ascii: "]")) else {
                return nil
            }
            end += 1
            if isBracketed, byte == UInt8(ascii: "]") { break }
        }
        if end < field.count {
            guard field[end] == UInt8(ascii: ":"), field.count - end <= 6 else { return nil }
            for index in end + 1..<field.count where !field[index].isDigit { return nil }
        }
        if isBracketed {
            guard end > 2, field[end - 1] == UInt8(ascii: "]") else { return nil }
        } else if end > 0, field[end - 1] == UInt8(ascii: ".") {
            end -= 1
        }
        guard end > 0 else { return nil }
        count = end
    }

    /// Whether the host is this one, which is in small letters.
    func isSame(as name: some RandomAccessCollection<UInt8>, in field: Span<UInt8>) -> Bool {
        guard name.count == count else { return false }
        var index = 0
        for byte in name {
            guard field[index].inLowerCase == byte else { return false }
            index += 1
        }
        return true
    }

    /// Whether only this host can be meant: `localhost`, 127.0.0.0/8 or ::1.
    func isLoopback(in field: Span<UInt8>) -> Bool {
        if isBracketed { return isSame(as: Self.loopback6, in: field) }
        if field[0] == UInt8(ascii: "1") { return isIPv4(in: field, first: 127) }
        return isSame(as: Self.localhost, in: field)
    }

    private static let localhost = Array("localhost".utf8)
    private static let loopback6 = Array("[::1]".utf8)

    func isAddress(in field: Span<UInt8>) -> Bool { isBracketed || isIPv4(in: field, first: nil) }

    /// Whether the host is four numbers, as browsers write an address, and the first of them fits.
    private func isIPv4(in field: Span<UInt8>, first: Int?) -> Bool {
        var part = 0
        var number = 0
        var digits = 0
        for index in 0...count {
            if index == count || field[index] == UInt8(ascii: ".") {
                guard digits > 0, number <= 255 else { return false }
                if part == 0, let first, number != first { return false }
                part += 1
                (number, digits) = (0, 0)
            } else {
                guard field[index].isDigit, digits < 3 else { return false }
                number = number * 10 + Int(field[index]) - 48
                digits += 1
            }
        }
        return part == 4
    }
}

extension UInt8 {
    fileprivate var isHostCharacter: Bool {
        switch self {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"):
            true
        default: "-._~".utf8.contains(self)
        }
    }

    fileprivate var isAddressCharacter: Bool {
        switch self {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "f"),
            UInt8(ascii: "A")...UInt8(ascii: "F"), UInt8(ascii: ":"), UInt8(ascii: "."):
            true
        default: false
        }
    }

    /// The small letter of a capital one; anything else as it is.
    fileprivate var inLowerCase: UInt8 {
        (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(self) ? self | 0x20 : self
    }
}
