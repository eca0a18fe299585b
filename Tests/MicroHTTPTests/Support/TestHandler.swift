import MicroHTTP

/// A handler made of closures.
final class TestHandler: Handler {
    let onReceive: @Sendable (Exchange) -> Plan
    let ended = Signal<(path: String, record: ExchangeRecord)>()

    init(_ onReceive: @escaping @Sendable (Exchange) -> Plan) {
        self.onReceive = onReceive
    }

    func receive(_ exchange: Exchange) -> Plan { onReceive(exchange) }

    func finished(_ exchange: Exchange, _ record: ExchangeRecord) {
        ended.report((exchange.path, record))
    }
}

extension Response {
    static func text(_ text: String, status: Int = 200) -> Response {
        Response(status: status, content: .bytes(Array(text.utf8)))
    }
}

/// Lends a server on a port of its own, and stops it.
func withServer<Result>(
    _ handler: TestHandler,
    configure: (inout Server.Configuration) -> Void = { _ in },
    _ body: (Server) throws -> Result
) throws -> Result {
    var configuration = Server.Configuration(endpoints: [.tcp(host: "127.0.0.1", port: 0)])
    configure(&configuration)
    let server = try Server(configuration: configuration, handler: handler)
    try server.start()
    defer { server.stop(within: .zero) }
    return try body(server)
}

/// Lends a server whose handler is one closure.
func withServer<Result>(
    configure: (inout Server.Configuration) -> Void = { _ in },
    handler: @escaping @Sendable (Exchange) -> Plan,
    _ body: (Server) throws -> Result
) throws -> Result {
    try withServer(TestHandler(handler), configure: configure, body)
}
