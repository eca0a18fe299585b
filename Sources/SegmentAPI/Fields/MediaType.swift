/// A media type such as `text/plain; charset=utf-8` (RFC 9110, section 8.3.1).
package struct MediaType: Sendable, Equatable {
    /// A parameter; its name is in small letters.
    package struct Parameter: Sendable, Equatable {
        package let name: String
        package let value: String
    }

    /// The type, in small letters.
    package let type: String
    /// The subtype, in small letters.
    package let subtype: String
    package let parameters: [Parameter]

    /// Makes a type of parts that are known to be right, in small letters.
    package init(_ type: String, _ subtype: String, parameters: [Parameter] = []) {
        self.type = type
        self.subtype = subtype
        self.parameters = parameters
    }

    /// Parses the value of a `Content-Type` field; nil when it is not a media type.
    package init?(_ field: String) {
        var scanner = FieldScanner(field)
        scanner.skipWhitespace()
        guard let parsed = MediaType(from: &scanner), scanner.isAtEnd else { return nil }
        self = parsed
    }

    /// Reads a media type, or a range of them, and the whitespace behind it.
    init?(from scanner: inout FieldScanner) {
        guard let type = scanner.takeLowercasedToken(), scanner.take("/"),
            let subtype = scanner.takeLowercasedToken()
        else {
            return nil
        }
        var parameters: [Parameter] = []
        scanner.skipWhitespace()
        while scanner.take(";") {
            scanner.skipWhitespace()
            // A semicolon with nothing behind it is allowed.
            guard let name = scanner.takeLowercasedToken() else { continue }
            guard scanner.take("="), let value = scanner.takeTokenOrQuotedString() else {
                return nil
            }
            parameters.append(Parameter(name: name, value: value))
            scanner.skipWhitespace()
        }
        self.type = type
        self.subtype = subtype
        self.parameters = parameters
    }

    /// Whether this is JSON that we can read: in UTF-8, whether it says so or not.
    package var isJSON: Bool {
        type == "application" && subtype == "json"
            && parameters.allSatisfy { $0.name != "charset" || $0.isUTF8Charset }
    }

    /// Whether this wraps a body in another format rather than being one.
    package var isMultipartOrMessage: Bool { type == "multipart" || type == "message" }

    package static let json = MediaType("application", "json")
    package static let octetStream = MediaType("application", "octet-stream")
    package static let plainText = MediaType("text", "plain")
    package static let html = MediaType("text", "html")
    package static let eventStream = MediaType("text", "event-stream")
    package static let problem = MediaType("application", "problem+json")
}

extension MediaType.Parameter {
    /// Whether this says that the text is in UTF-8, which all of ours is.
    var isUTF8Charset: Bool {
        name == "charset" && value.utf8.lazy.map(\.lowercased).elementsEqual("utf-8".utf8)
    }
}
