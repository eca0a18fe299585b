import ArgumentParser
import Glibc
import MicroHTTP

/// `segmentd health`: asks a running server whether it is ready, for whoever looks after it.
///
/// A container has no shell and no curl, so the program does this itself.
struct Health: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Asks a server on this host whether it is ready: exits 0 if it is, 1 if not.",
        discussion: """
            It asks where the server listens by --listen or, without that, by SEGMENTD_LISTEN: \
            the first address there, if there are several.
            """)

    /// Takes --listen, wherever it stands.
    @ParentCommand var server: Segmentd

    @Option(help: ArgumentHelp("What to ask for (default: /readyz).", valueName: "path"))
    var path: String?

    @Option(help: ArgumentHelp("How long to wait (default: 3).", valueName: "seconds"))
    var timeout: String?

    func run() throws {
        let addresses = try Setting.list("listen", server.flags.listen, Self.address)
        // It does not speak TLS, and a Unix socket never does.
        let isSecure = try Setting("tls-cert", server.flags.tlsCert, { $0 }).value != nil
        let address = isSecure ? addresses.first { $0.port == nil } : addresses.first
        guard !isSecure || address != nil else {
            throw StartError.usage("with TLS, health asks over a Unix socket, and there is none")
        }
        let path = self.path ?? "/readyz"
        guard path.hasPrefix("/"), !path.contains(where: { $0.isWhitespace || $0.isNewline }) else {
            throw StartError.usage("--path: '\(path)' is not a path that begins with a slash")
        }
        guard let seconds = Int(timeout ?? "3"), 1...3600 ~= seconds else {
            throw StartError.usage("--timeout: '\(timeout ?? "")' is not a number from 1 to 3600")
        }
        guard let endpoint = address ?? Endpoint(ListenAddress.standard.text) else { return }
        let status = try endpoint.status(of: path, within: .seconds(seconds))
        guard status == 200 else {
            throw StartError.failure("not ready: \(endpoint) answers \(path) with \(status)")
        }
    }

    private static func address(_ text: String) throws(BadValue) -> Endpoint {
        let isLocalhost = text.hasPrefix("localhost:")
        let plain = isLocalhost ? "127.0.0.1" + text.dropFirst("localhost".count) : text
        guard let endpoint = Endpoint(plain) else {
            throw "is neither an address and a port, such as 127.0.0.1:7070, nor unix:/path"
        }
        return endpoint
    }
}
