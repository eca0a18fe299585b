/// A request method, such as `GET`.
///
/// Any token a client may send is a method, and methods are case-sensitive; those with a name here are
/// told apart, of all others ``Exchange/methodName`` knows what was sent.
public enum Method: String, Sendable, CaseIterable {
    /// Asks for a representation.
    case get = "GET"
    /// Asks for what `GET` would answer, without the body.
    case head = "HEAD"
    /// Replaces a resource.
    case put = "PUT"
    /// Hands something to a resource to act on.
    case post = "POST"
    /// Changes a part of a resource.
    case patch = "PATCH"
    /// Removes a resource.
    case delete = "DELETE"
    /// Asks what a resource can do.
    case options = "OPTIONS"
    /// Any other, which no method is named.
    case other
}
