import SharedMemory
import Testing

@Suite struct KeyTypeTests {
    @Test(arguments: 1...257 as ClosedRange<UInt16>)
    func `every type that Qt numbers survives its number and its scheme`(qtID: UInt16) throws {
        let type = try #require(KeyType(qtID: qtID))
        #expect(type.qtID == qtID)
        #expect(KeyType(scheme: type.scheme) == type)
    }

    @Test(arguments: [0, 258, 65535] as [UInt16])
    func `a number without meaning makes no type`(qtID: UInt16) {
        #expect(KeyType(qtID: qtID) == nil)
    }

    @Test func `the default project id is the letter Q and goes unmentioned`() {
        #expect(KeyType.systemV == .systemV(projectID: UInt8(ascii: "Q")))
        #expect(KeyType.systemV.scheme == "systemv")
        #expect(KeyType.systemV(projectID: 84).description == "systemv-84")
    }

    @Test(arguments: ["", "systemv-", "systemv-0", "systemv-256", "systemv-+1", "po\u{17F}ix"])
    func `other words make no type`(scheme: String) {
        #expect(KeyType(scheme: scheme) == nil)
    }
}
