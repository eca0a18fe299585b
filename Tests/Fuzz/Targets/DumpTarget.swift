import Foundation
import SegmentAPI

/// Bytes to be dumped in hexadecimal: a formatter that takes them in pieces.
enum DumpTarget {
    @Sendable static func check(_ input: [UInt8]) {
        guard input.count >= 2 else { return }
        let offset = UInt64(input[0]) << 28
        let step = Int(input[1]) % 33 + 1
        let bytes = Array(input.dropFirst(2))
        var text: [UInt8] = []
        var dumper = HexDumper(offset: offset)
        for start in stride(from: 0, to: bytes.count, by: step) {
            let end = min(start + step, bytes.count)
            dumper.append(bytes.span.extracting(start..<end), to: &text)
        }
        dumper.finish(&text)
        require(text.elementsEqual(naive(bytes, offset).utf8), "what hexdump -C prints")
    }

    private static func naive(_ bytes: [UInt8], _ offset: UInt64) -> String {
        guard !bytes.isEmpty || offset > 0 else { return "" }
        var lines: [String] = []
        var previous: [UInt8] = []
        for start in stride(from: 0, to: bytes.count, by: 16) {
            let line = Array(bytes[start..<min(start + 16, bytes.count)])
            defer { previous = line }
            if line == previous, line.count == 16 {
                if lines.last != "*" { lines.append("*") }
                continue
            }
            let columns = (0..<16).map { index in
                (index == 8 ? "  " : " ")
                    + (index < line.count ? String(format: "%02x", line[index]) : "  ")
            }
            let shown = line.map { (32...126).contains($0) ? String(Unicode.Scalar($0)) : "." }
            lines.append(
                address(offset + UInt64(start)) + " " + columns.joined() + "  |" + shown.joined()
                    + "|")
        }
        lines.append(address(offset + UInt64(bytes.count)))
        return lines.joined(separator: "\n") + "\n"
    }

    private static func address(_ offset: UInt64) -> String { String(format: "%08lx", offset) }
}
