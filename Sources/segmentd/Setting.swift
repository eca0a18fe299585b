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
        let variable = "SEGMENTD_" + name.uppercased().map { $0 == "-" ? "_" : $0 }
        guard let text = flag ?? Self.environment(variable) else {
            value = nil
            return
        }
        do throws(BadValue) {
            value = try read(text)
        } catch {
            let source = flag == nil ? variable : "--" + name
            throw .usage("\(source): '\(text)' \(error.reason)")
        }
    }

    private static func environment(_ name: String) -> String? {
        unsafe getenv(name).map { unsafe String(cString: $0) }
    }
}

/// Why a text is no value: the end of a sentence that begins with the text.
struct BadValue: Error, ExpressibleByStringInterpolation {
    let reason: String

    init(stringLiteral reason: String) { self.reason = reason }
}
