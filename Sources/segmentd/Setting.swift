import Glibc

/// One thing the operator may decide, by a flag or by the environment variable of the same name.
struct Setting<Value> {
    /// The value, or nil if neither is there.
    let value: Value?

    /// Reads a setting.
    ///
    /// - Parameters:
    ///   - name: The flag without its dashes: `state-dir` is `SEGMENTD_STATE_DIR` too.
    ///   - flag: The value of the flag, if it was given.
    ///   - read: What makes a value of a text.
    /// - Throws: ``StartError`` that names the flag or the variable, whichever decided.
    init(
        _ name: String, _ flag: String?, _ read: (String) throws(BadValue) -> Value
    ) throws(StartError) {
        let variable = Self.variable(name)
        guard let text = flag ?? Self.environment(variable) else {
            value = nil
            return
        }
        value = try Self.read(text, from: flag == nil ? variable : "--" + name, read)
    }

    /// Reads a setting of any number of values: a flag for each, or a variable in which they stand
    /// with spaces or commas between them.
    ///
    /// - Parameters:
    ///   - name: The flag without its dashes.
    ///   - flags: The values of the flags that were given.
    ///   - read: What makes a value of a text.
    /// - Returns: The values, in their order.
    /// - Throws: ``StartError`` that names the flag or the variable, whichever decided.
    static func list(
        _ name: String, _ flags: [String], _ read: (String) throws(BadValue) -> Value
    ) throws(StartError) -> [Value] {
        let source = flags.isEmpty ? variable(name) : "--" + name
        let texts =
            flags.isEmpty
            ? (environment(source) ?? "").split { $0.isWhitespace || $0 == "," }.map(String.init)
            : flags
        var values: [Value] = []
        for text in texts { values.append(try Self.read(text, from: source, read)) }
        return values
    }

    private static func read(
        _ text: String, from source: String, _ read: (String) throws(BadValue) -> Value
    ) throws(StartError) -> Value {
        do throws(BadValue) { return try read(text) } catch {
            throw .usage("\(source): '\(text)' \(error.reason)")
        }
    }

    private static func variable(_ name: String) -> String {
        "SEGMENTD_" + name.uppercased().map { $0 == "-" ? "_" : $0 }
    }

    private static func environment(_ name: String) -> String? {
        unsafe getenv(name).map { unsafe String(cString: $0) }
    }
}

extension Setting where Value == Bool {
    /// Whether a switch is on: the flag was given, or its variable says `true` or `1`.
    ///
    /// - Throws: ``StartError`` when the variable says neither that nor `false` or `0`.
    static func isSet(_ name: String, _ flag: Bool) throws(StartError) -> Bool {
        let value = try Setting(name, flag ? "true" : nil) { (text) throws(BadValue) in
            switch text.lowercased() {
            case "true", "1": return true
            case "false", "0", "": return false
            default: throw "is neither true nor false"
            }
        }
        return value.value ?? false
    }
}

/// Why a text is no value: the end of a sentence that begins with the text.
struct BadValue: Error, ExpressibleByStringInterpolation {
    let reason: String

    init(stringLiteral reason: String) { self.reason = reason }
}
