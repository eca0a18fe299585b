import Glibc
import MicroHTTP

extension TransportSecurity {
    /// The largest file that is read.
    private static let byteLimit = 1 << 20

    /// Reads the files that the flags or the environment name.
    ///
    /// - Returns: What makes the server speak TLS; nil if nothing is named.
    /// - Throws: ``StartError`` that names the file at fault.
    static func configured(by flags: Flags) throws(StartError) -> TransportSecurity? {
        let certificate = try Setting("tls-cert", flags.tlsCert, file)
        let key = try Setting("tls-key", flags.tlsKey, secret)
        let authority = try Setting("tls-client-ca", flags.tlsClientCa, file)
        guard let certificate = certificate.value else {
            if key.value != nil { throw .usage("--tls-key needs --tls-cert beside it") }
            if authority.value != nil { throw .usage("--tls-client-ca needs --tls-cert beside it") }
            return nil
        }
        guard let key = key.value else { throw .usage("--tls-cert needs --tls-key beside it") }
        do throws(Flaw) {
            return try TransportSecurity(
                certificate: certificate, key: key, clientAuthority: authority.value)
        } catch {
            switch error {
            case .certificate(let reason):
                throw .usage("--tls-cert holds no certificate: \(reason)")
            case .key(let reason):
                throw .usage("--tls-key holds no key that can be used: \(reason)")
            case .mismatch: throw .usage("--tls-key is not the key of --tls-cert")
            case .clientAuthority(let reason):
                throw .usage("--tls-client-ca holds no certificate: \(reason)")
            }
        }
    }

    private static func file(_ path: String) throws(BadValue) -> String {
        try read(path, isSecret: false)
    }

    private static func secret(_ path: String) throws(BadValue) -> String {
        try read(path, isSecret: true)
    }

    private static func read(_ path: String, isSecret: Bool) throws(BadValue) -> String {
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { throw "cannot be read: \(StartError.reason(errno))" }
        defer { close(descriptor) }
        var status = stat()
        guard unsafe fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            throw "is not a file"
        }
        guard !isSecret || status.st_mode & 0o007 == 0 else {
            throw "can be read by every user; chmod o= would mend that"
        }
        guard status.st_size <= byteLimit else { throw "is too large for what it should be" }
        var bytes = [UInt8](repeating: 0, count: byteLimit)
        var count = 0
        while count < bytes.count {
            let more = unsafe bytes.withUnsafeMutableBytes { bytes in
                unsafe Glibc.read(
                    descriptor, bytes.baseAddress.map { unsafe $0 + count }, bytes.count - count)
            }
            guard more != 0 else { break }
            guard more > 0 else { throw "cannot be read: \(StartError.reason(errno))" }
            count += more
        }
        return String(decoding: bytes[..<count], as: UTF8.self)
    }
}
