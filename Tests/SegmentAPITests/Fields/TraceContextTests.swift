import Testing

@testable import SegmentAPI

@Suite struct TraceContextTests {
    private static let trace = "0af7651916cd43dd8448eb211c80319c"
    private static let parent = "b7ad6b7169203331"

    @Test func `the answer names the same trace and a part of its own`() throws {
        let field = "00-\(Self.trace)-\(Self.parent)-01"
        let context = try #require(TraceContext(field, span: 0xabc))
        #expect(context.traceID == Self.trace)
        #expect(context.field == "00-\(Self.trace)-0000000000000abc-01")
        #expect(TraceContext(field)?.spanID != TraceContext(field)?.spanID)
    }

    @Test(arguments: [("00", "00"), ("01", "01"), ("02", "00"), ("ff", "01")])
    func `only the flag that is known is passed on`(given: String, answered: String) throws {
        let context = try #require(TraceContext("00-\(Self.trace)-\(Self.parent)-\(given)"))
        #expect(context.field.hasSuffix("-\(answered)"))
    }

    @Test(arguments: ["", "-more", "-01-02"])
    func `a later version is read as far as it is known`(rest: String) throws {
        let context = try #require(TraceContext("cc-\(Self.trace)-\(Self.parent)-01\(rest)"))
        #expect(context.field.hasPrefix("00-\(Self.trace)-"))
    }

    @Test(arguments: [
        "", "00", "00-\(trace)-\(parent)", "00-\(trace)-\(parent)-", "00-\(trace)-\(parent)-1",
        "00-\(trace)-\(parent)-01-", "00-\(trace)-\(parent)-01-00", "00-\(trace)-\(parent)-010",
        "ff-\(trace)-\(parent)-01", "cc-\(trace)-\(parent)-01.", "0-\(trace)-\(parent)-011",
        "00-\(trace.uppercased())-\(parent)-01", "00-\(trace)-\(parent)-0A",
        "00-00000000000000000000000000000000-\(parent)-01", "00-\(trace)-0000000000000000-01",
        "00_\(trace)_\(parent)_01", " 00-\(trace)-\(parent)-01", "00-\(trace)-\(parent)-01 ",
        "00-\(trace.dropLast())é-\(parent)-01", "0g-\(trace)-\(parent)-01",
    ])
    func `what is not as it should be is as good as nothing`(field: String) {
        #expect(TraceContext(field) == nil)
    }
}
