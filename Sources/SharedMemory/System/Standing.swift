/// Where a name leads now, compared with what it led to when it was opened.
enum Standing: Hashable, Sendable {
    /// To the same object.
    case same
    /// To another, which is what newcomers find.
    case replaced
    /// Nowhere: newcomers would make a new one.
    case missing
}
