internal import CMicroHTTPD

/// What a server needs to speak TLS: a certificate and its key, and whom it lets in.
public struct TransportSecurity: Sendable {
    /// A reason for which TLS cannot be had, with what GnuTLS says of it.
    public enum Flaw: Error, Sendable {
        /// The certificate cannot be read.
        case certificate(String)
        /// The key cannot be read.
        case key(String)
        /// The key is that of another certificate.
        case mismatch
        /// There is no certificate of an authority.
        case clientAuthority(String)
    }

    let certificate: String
    let key: String
    let clientAuthority: String?
    /// All of it, as connections use it.
    let credentials: Credentials

    /// Checks that all of it fits together.
    ///
    /// - Parameters:
    ///   - certificate: The server's certificate as PEM, followed by those between it and its root.
    ///   - key: Its private key as PEM, not encrypted.
    ///   - clientAuthority: Certificates as PEM, of which one must have signed the certificate that
    ///     a client then has to have; nil lets in clients without one.
    /// - Throws: ``Flaw``.
    public init(certificate: String, key: String, clientAuthority: String?) throws(Flaw) {
        self.certificate = certificate
        self.key = key
        self.clientAuthority = clientAuthority
        guard let credentials = Credentials(), let scratch = Credentials() else {
            throw .certificate("there is no memory")
        }
        self.credentials = credentials
        // Nobody is trusted for having signed it: this only finds out whether it can be read.
        let read = unsafe Self.withData(certificate) { certificate in
            unsafe gnutls_certificate_set_x509_trust_mem(
                scratch.handle, certificate, GNUTLS_X509_FMT_PEM)
        }
        guard read > 0 else { throw .certificate(Self.reason(read)) }
        let result = unsafe Self.withData(certificate) { certificate in
            unsafe Self.withData(key) { key in
                unsafe gnutls_certificate_set_x509_key_mem(
                    credentials.handle, certificate, key, GNUTLS_X509_FMT_PEM)
            }
        }
        if result == GNUTLS_E_CERTIFICATE_KEY_MISMATCH { throw .mismatch }
        guard result >= 0 else { throw .key(Self.reason(result)) }
        guard let clientAuthority else { return }
        let trusted = unsafe Self.withData(clientAuthority) { authority in
            unsafe gnutls_certificate_set_x509_trust_mem(
                credentials.handle, authority, GNUTLS_X509_FMT_PEM)
        }
        guard trusted > 0 else { throw .clientAuthority(Self.reason(trusted)) }
    }

    private static func withData(
        _ text: String, _ body: (UnsafePointer<gnutls_datum_t>) -> CInt
    ) -> CInt {
        var bytes = Array(text.utf8)
        return unsafe bytes.withUnsafeMutableBufferPointer { bytes in
            var data = unsafe gnutls_datum_t(
                data: bytes.baseAddress, size: CUnsignedInt(clamping: bytes.count))
            return unsafe body(&data)
        }
    }

    private static func reason(_ number: CInt) -> String {
        guard number < 0 else { return "there is none in it" }
        return unsafe gnutls_strerror(number).map { unsafe String(cString: $0) } ?? "\(number)"
    }
}

/// GnuTLS's record of a certificate, its key and whom to let in.
///
/// A connection keeps the one that it began with, so it must outlive that.
@safe
final class Credentials: @unchecked Sendable {
    // Sendable: filled in before anyone else can see it, and only read by GnuTLS from then on.
    let handle: gnutls_certificate_credentials_t

    init?() {
        var handle: gnutls_certificate_credentials_t?
        guard unsafe gnutls_certificate_allocate_credentials(&handle) == 0,
            let handle = unsafe handle
        else { return nil }
        unsafe self.handle = handle
    }

    deinit { unsafe gnutls_certificate_free_credentials(handle) }
}
