import Glibc

extension String {
    /// Whether two strings are the same bytes of UTF-8.
    ///
    /// Keys are compared with every request, so all at once rather than one by one.
    func isSameUTF8(as other: String) -> Bool {
        let count = utf8.count
        guard other.utf8.count == count else { return false }
        return unsafe utf8.span.withUnsafeBufferPointer { left in
            unsafe other.utf8.span.withUnsafeBufferPointer { right in
                guard let left = left.baseAddress, let right = right.baseAddress else {
                    return true
                }
                return unsafe memcmp(left, right, count) == 0
            }
        }
    }
}
