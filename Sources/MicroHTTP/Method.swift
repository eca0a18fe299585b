/// A request method, such as `GET`.
///
/// Any token a client may send is a method; the common ones have names here.
public struct Method: Hashable, Sendable, CustomStringConvertible {
    /// The method as it was sent, for methods are case-sensitive.
    public let rawValue: String

    /// Creates a method from its token.
    public init(_ rawValue: String) {
        self.rawValue = rawValue
    }

    /// The method as it was sent.
    public var description: String { rawValue }

    /// Asks for a representation.
    public static let get = Method("GET")
    /// Asks for what `GET` would answer, without the body.
    public static let head = Method("HEAD")
    /// Replaces a resource.
    public static let put = Method("PUT")
    /// Hands something to a resource to act on.
    public static let post = Method("POST")
    /// Changes a part of a resource.
    public static let patch = Method("PATCH")
    /// Removes a resource.
    public static let delete = Method("DELETE")
    /// Asks what a resource can do.
    public static let options = Method("OPTIONS")
}
