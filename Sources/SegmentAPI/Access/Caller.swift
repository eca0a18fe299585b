/// Whoever sent a request, as far as that decides what it may do.
struct Caller: Sendable {
    /// What it may do.
    let role: Role
    /// The segments it is limited to; `nil` for no limit.
    let segments: SegmentPatterns?
    /// The line of its token in the token file; `nil` where no token is needed.
    let tokenLine: Int?

    /// Whoever comes to a server without tokens.
    static let anybody = Caller(role: .admin, segments: nil, tokenLine: nil)
}
