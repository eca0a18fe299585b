import MicroHTTP

/// The headers that requests are asked for.
extension HeaderName {
    static let accept: HeaderName = "Accept"
    static let authorization: HeaderName = "Authorization"
    static let contentRange: HeaderName = "Content-Range"
    static let contentType: HeaderName = "Content-Type"
    static let fencingToken: HeaderName = "Fencing-Token"
    static let host: HeaderName = "Host"
    static let ifRange: HeaderName = "If-Range"
    static let origin: HeaderName = "Origin"
    static let range: HeaderName = "Range"
    static let secFetchSite: HeaderName = "Sec-Fetch-Site"
    static let sessionID: HeaderName = "Session-Id"
    static let traceParent: HeaderName = "traceparent"
}
