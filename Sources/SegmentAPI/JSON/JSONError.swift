/// Why a JSON text, or a value in it, was refused.
package struct JSONError: Error, Sendable, Equatable, CustomStringConvertible {
    /// What is wrong, to decide on.
    package enum Code: Sendable, Equatable {
        /// Not JSON, or not UTF-8.
        case malformed
        /// More arrays and objects inside each other than allowed.
        case tooDeep
        /// Two members of one object have the same name.
        case duplicateMember
        /// A member nobody asked for.
        case unknownMember
        /// A member that has to be there is not.
        case missingMember
        /// Another kind of value than expected.
        case wrongType
        /// A number with a fractional part where a whole one is expected.
        case notWhole
        /// A whole number outside the range expected.
        case outOfRange
        /// The right kind of value, but none of those allowed.
        case invalidValue
    }

    package let code: Code
    /// A sentence for people.
    package let reason: String
    /// The place in the text, as a JSON pointer (RFC 6901); empty for the whole text.
    package let pointer: String
    /// How many bytes into the text the flaw lies, where that is known.
    package let offset: Int?

    package init(code: Code, reason: String, pointer: String, offset: Int? = nil) {
        self.code = code
        self.reason = reason
        self.pointer = pointer
        self.offset = offset
    }

    package var description: String {
        pointer.isEmpty ? reason : "\(pointer): \(reason)"
    }
}

/// The steps from the top of a JSON text to a value in it.
enum JSONPath {
    /// One step down.
    enum Step {
        case member(String)
        case element(Int)
    }

    /// The steps as a JSON pointer (RFC 6901).
    static func pointer(_ steps: some Sequence<Step>) -> String {
        var pointer = ""
        for step in steps {
            switch step {
            case .member(let name): appendToken(name, to: &pointer)
            case .element(let index): pointer += "/\(index)"
            }
        }
        return pointer
    }

    /// The pointer to a member of the object at `parent`.
    static func pointer(to name: String, in parent: String) -> String {
        var pointer = parent
        appendToken(name, to: &pointer)
        return pointer
    }

    private static func appendToken(_ name: String, to pointer: inout String) {
        pointer += "/"
        for scalar in name.unicodeScalars {
            switch scalar {
            case "~": pointer += "~0"
            case "/": pointer += "~1"
            default: pointer.unicodeScalars.append(scalar)
            }
        }
    }
}
