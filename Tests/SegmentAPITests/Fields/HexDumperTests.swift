import Foundation
import SegmentAPI
import Testing

/// A dump of some bytes that are fed in pieces.
private func dump(_ bytes: [UInt8], offset: UInt64 = 0, pieces: [Int] = []) -> String {
    var dumper = HexDumper(offset: offset)
    var output: [UInt8] = []
    var start = 0
    for piece in pieces where start < bytes.count {
        let end = min(start + piece, bytes.count)
        dumper.append(bytes.span.extracting(start..<end), to: &output)
        start = end
    }
    dumper.append(bytes.span.extracting(start..<bytes.count), to: &output)
    dumper.finish(&output)
    return String(decoding: output, as: UTF8.self)
}

struct HexDumperTests {
    private let zeros = [UInt8](repeating: 0, count: 64)

    // The texts were written by hexdump 2.38 of util-linux.
    @Test func `a dump with repetitions looks like that of hexdump`() {
        let bytes =
            [UInt8](repeating: 0, count: 100) + Array("abcABC~".utf8) + [0x7F, 0x80, 0xFF]
            + [UInt8](repeating: 0, count: 37)
        #expect(
            dump(bytes) == """
                00000000  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|
                *
                00000060  00 00 00 00 61 62 63 41  42 43 7e 7f 80 ff 00 00  |....abcABC~.....|
                00000070  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|
                *
                00000090  00 00 00                                          |...|
                00000093

                """
        )
        #expect(
            dump(Array(bytes[5...]), offset: 5) == """
                00000005  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|
                *
                00000055  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 61  |...............a|
                00000065  62 63 41 42 43 7e 7f 80  ff 00 00 00 00 00 00 00  |bcABC~..........|
                00000075  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|
                00000085  00 00 00 00 00 00 00 00  00 00 00 00 00 00        |..............|
                00000093

                """
        )
    }

    @Test func `offsets past eight digits grow`() {
        #expect(
            dump(Array(zeros[..<50]), offset: 0xFFFF_FFFA) == """
                fffffffa  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|
                *
                10000002a  00 00                                             |..|
                10000002c

                """
        )
        #expect(dump([], offset: .max) == "ffffffffffffffff\n")
        #expect(dump(zeros, offset: .max).utf8.count == 98)
    }

    @Test func `a short last line is shown and a full one squeezed`() {
        let line = "  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|\n"
        #expect(dump(Array(zeros[..<48])) == "00000000\(line)*\n00000030\n")
        #expect(
            dump(Array(zeros[..<40]))
                == """
                00000000\(line)*
                00000020  00 00 00 00 00 00 00 00                           |........|
                00000028

                """
        )
        #expect(dump(Array(zeros[..<16])) == "00000000\(line)00000010\n")
    }

    @Test func `no bytes are nothing, or the offset they would have had`() {
        #expect(dump([]) == "")
        #expect(dump([], offset: 147) == "00000093\n")
    }

    @Test func `pieces of any size give the same dump`() {
        var random = SeededGenerator(seed: 5)
        for _ in 0..<200 {
            let bytes = repetitiveBytes(&random)
            let pieces = (0..<200).map { _ in Int.random(in: 0...40, using: &random) }
            #expect(dump(bytes, pieces: pieces) == dump(bytes))
        }
    }

    private static let hexdump = "/usr/bin/hexdump"

    @Test(.enabled(if: FileManager.default.isExecutableFile(atPath: hexdump)))
    func `random bytes look like the dump of hexdump where there is one`() throws {
        var random = SeededGenerator(seed: 6)
        let file = FileManager.default.temporaryDirectory
            .appending(component: "hexdumper-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: file) }
        for _ in 0..<40 {
            let bytes = repetitiveBytes(&random)
            try Data(bytes).write(to: file)
            let offset = Int.random(in: 0...bytes.count, using: &random)
            let theirs = try output(of: Self.hexdump, ["-C", "-s", "\(offset)", file.path])
            #expect(dump(Array(bytes[offset...]), offset: UInt64(offset)) == theirs)
        }
    }

    private func repetitiveBytes(_ random: inout SeededGenerator) -> [UInt8] {
        var bytes: [UInt8] = []
        for _ in 0..<Int.random(in: 1...12, using: &random) {
            let line = random.bytes(Int.random(in: 1...17, using: &random))
            let count = Int.random(in: 1...4, using: &random)
            bytes += (0..<count).flatMap { _ in line }
        }
        return bytes
    }

    private func output(of program: String, _ arguments: [String]) throws -> String {
        let process = Process()
        process.executableURL = URL(filePath: program)
        process.arguments = arguments
        process.environment = ["LC_ALL": "C"]
        let pipe = Pipe()
        process.standardOutput = pipe
        try process.run()
        let data = pipe.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return String(decoding: data, as: UTF8.self)
    }
}
