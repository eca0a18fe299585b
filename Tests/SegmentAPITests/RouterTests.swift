import MicroHTTP
import Testing

@testable import SegmentAPI

@Suite struct RouterTests {
    /// What everybody may do.
    private static let open = ["/livez", "/readyz", "/healthz", "/openapi.yaml"]

    /// What needs more than to look, but for sessions, where everything does.
    private static let roles: [String: Role] = [
        "POST /v1/segments": .use,
        "DELETE /v1/segments/{segment}": .admin,
        "PUT /v1/segments/{segment}/attachment": .use,
        "DELETE /v1/segments/{segment}/attachment": .use,
        "PUT /v1/segments/{segment}/lock": .use,
        "DELETE /v1/segments/{segment}/lock": .use,
        "PUT /v1/segments/{segment}/data": .use,
        "PATCH /v1/segments/{segment}/data": .use,
        "POST /v1/sessions": .use,
        "GET /v1/sessions/{session}": .use,
        "DELETE /v1/sessions/{session}": .use,
        "POST /v1/sessions/{session}/renew": .use,
        "GET /v1/sessions/{session}/hold": .use,
    ]

    @Test func `every operation has the role that it should`() {
        var seen: Set<String> = []
        for route in Route.all {
            for operation in route.operations {
                let name = "\(operation.method.rawValue) \(route.template)"
                seen.insert(name)
                let expected =
                    Self.open.contains(route.template) ? nil : Self.roles[name] ?? .inspect
                #expect(operation.role == expected, "\(name)")
            }
        }
        #expect(Set(Self.roles.keys).subtracting(seen) == [])
    }

    @Test func `no operation that changes anything is open to those who only look`() {
        for route in Route.all {
            for operation in route.operations where operation.method != .get {
                #expect(operation.role ?? .inspect > .inspect, "\(route.template)")
            }
        }
    }

    @Test func `force takes an administrator`() {
        for route in Route.all {
            for operation in route.operations where operation.method == .delete {
                let takesForce =
                    route.template.hasSuffix("/{segment}") || route.template.hasSuffix("/lock")
                #expect(!takesForce || operation.forceRole == .admin, "\(route.template)")
            }
        }
    }
}
