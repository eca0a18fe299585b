import SegmentAPI
import Testing

@Suite struct `Numbers that are written in place` {
    private func written(_ write: (inout OutputSpan<UInt8>) -> Void) -> String {
        let bytes = [UInt8](capacity: 24) { write(&$0) }
        return String(decoding: bytes, as: UTF8.self)
    }

    @Test(arguments: 0...19)
    func `have all their digits`(exponent: Int) {
        let power = (0..<exponent).reduce(UInt64(1)) { number, _ in number * 10 }
        for value in [power - 1, power, power + 1, power / 10 * 17] {
            #expect(written { $0.append(decimal: value) } == "\(value)")
        }
        #expect(written { $0.append(decimal: .max) } == "\(UInt64.max)")
    }

    @Test func `have as many digits as are asked for`() {
        #expect(written { $0.append(decimal: 7, width: 3) } == "007")
        #expect(written { $0.append(decimal: 7, width: 4) } == "0007")
        #expect(written { $0.append(decimal: 98_765, width: 3) } == "765")
        #expect(written { $0.append(decimal: 98_765, width: 1) } == "5")
        #expect(written { $0.append(decimal: 5, width: 0) } == "")
        let twice = written {
            $0.append(decimal: 12, width: 2)
            $0.append(decimal: 345, width: 3)
        }
        #expect(twice == "12345")
    }
}
