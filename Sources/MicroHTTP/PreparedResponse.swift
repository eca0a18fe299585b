internal import CMicroHTTPD

/// A constant answer, built once and shared by all threads.
///
/// Giving it costs no allocation.
@safe
public final class PreparedResponse: @unchecked Sendable {
    // Sendable: the native response is complete before anyone else sees it, and its reference
    // count is guarded by a lock of its own.
    let native: OpaquePointer?
    let response: Response

    /// Builds the answer.
    ///
    /// - Parameters:
    ///   - status: The three-digit status.
    ///   - headers: Names and values.
    ///   - bytes: The body.
    public init(status: Int, headers: [(String, String)] = [], bytes: [UInt8] = []) {
        response = Response(
            status: status,
            headers: headers,
            content: bytes.isEmpty ? .empty : .bytes(bytes)
        )
        unsafe native = response.makeNative(for: nil, closing: false)
    }

    deinit { unsafe MHD_destroy_response(native) }
}
