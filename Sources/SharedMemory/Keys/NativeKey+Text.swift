extension NativeKey: CustomStringConvertible {
    /// The key as one line of text, which Qt's `QNativeIpcKey::fromString` reads:
    /// `posix:/camera`, `systemv:/run/camera?legacyKey=camera`.
    ///
    /// Only what would be misread is escaped: control characters and `#`, `%`, `?` in the value;
    /// control characters and `#`, `%`, `&`, `=` in the legacy key.
    public var text: String {
        var path = PercentEncoding.encode(value, escaping: "#%?")
        if path.utf8.starts(with: "//".utf8) {
            // Two literal slashes would announce a host name.
            path = "/%2F" + String(path.unicodeScalars.dropFirst(2))
        }
        let text = type.scheme + ":" + path
        guard let legacyKey else { return text }
        return text + "?legacyKey=" + PercentEncoding.encode(legacyKey, escaping: "#%&=")
    }

    /// The ``text``.
    public var description: String { text }

    /// Reads a key's ``text``, and whatever else Qt's `QNativeIpcKey::fromString` reads.
    ///
    /// Qt parses the text as a tolerant URL, which has its surprises: a fragment is dropped, an
    /// empty host is allowed (`posix:///x` is `/x`), and one malformed escape makes every `%` of
    /// its component an ordinary character.
    ///
    /// - Parameter text: A scheme, a colon, the escaped value, and perhaps a query whose only
    ///   items are `legacyKey=…`, the last of which counts.
    public init?(text: String) {
        let bytes = Array(text.utf8)
        let beforeFragment = bytes.prefix { $0 != UInt8(ascii: "#") }
        let beforeQuery = beforeFragment.prefix { $0 != UInt8(ascii: "?") }
        let query = beforeFragment[beforeQuery.endIndex...].dropFirst()
        guard let colon = beforeQuery.firstIndex(of: UInt8(ascii: ":")),
            let type = KeyType(scheme: String(decoding: beforeQuery[..<colon], as: UTF8.self)),
            let path = Self.path(beforeQuery[(colon + 1)...]),
            let legacyKey = Self.legacyKey(query: query)
        else { return nil }
        self.init(
            PercentEncoding.decode(path, admittingNoncharacters: false),
            type: type,
            legacyKey: legacyKey
        )
    }

    // What follows the host, if there is room for one; nil when a host, user or port is named.
    private static func path(_ bytes: ArraySlice<UInt8>) -> ArraySlice<UInt8>? {
        guard bytes.starts(with: "//".utf8) else { return bytes }
        let authority = bytes.dropFirst(2).prefix { $0 != UInt8(ascii: "/") }
        // Empty user and empty port: Qt sees no authority in these either.
        guard ["", "@", ":", "@:"].contains(where: { authority.elementsEqual($0.utf8) })
        else { return nil }
        return bytes[authority.endIndex...]
    }

    // The legacy key in a query, empty when there is none; nil when the query says anything else.
    private static func legacyKey(query: ArraySlice<UInt8>) -> String? {
        var items = query.split(separator: UInt8(ascii: "&"), omittingEmptySubsequences: false)
        // Qt takes an `&` for the end of an item, so nothing need follow the last one.
        if items.last?.isEmpty == true { items.removeLast() }

        let isLiteral = PercentEncoding.hasMalformedEscape(query)
        var legacyKey = ""
        for item in items {
            let escapedName = item.prefix { $0 != UInt8(ascii: "=") }
            let name = PercentEncoding.decode(escapedName, isLiteral: isLiteral)
            guard name.utf8.elementsEqual("legacyKey".utf8) else { return nil }
            let value = item[escapedName.endIndex...].dropFirst()
            legacyKey = PercentEncoding.decode(value, isLiteral: isLiteral)
        }
        // Here Qt decodes UTF-8 as if it were a file, and drops a byte order mark.
        guard legacyKey.unicodeScalars.first == "\u{FEFF}" else { return legacyKey }
        return String(legacyKey.unicodeScalars.dropFirst())
    }
}
