import Glibc
@testable import SegmentAPI

/// A token file, or, with a NUL in it, a pattern and a text that it may fit.
enum TokenTarget {
    @Sendable static func check(_ input: [UInt8]) {
        let parts = input.split(separator: 0, maxSplits: 1, omittingEmptySubsequences: false)
        if parts.count == 2 {
            checkGlob(Array(parts[0]), Array(parts[1]))
        } else {
            checkFile(input)
        }
    }

    private static func checkFile(_ input: [UInt8]) {
        let lines = input.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        do throws(TokenFile.Flaw) {
            let file = try TokenFile(input)
            require(!file.entries.isEmpty, "a file that lets somebody in")
            require(String(validating: input, as: UTF8.self) != nil, "a text")
            let numbers = file.entries.map(\.line)
            require(numbers == numbers.sorted(), "lines in their order")
            require(Set(numbers).count == numbers.count, "one entry a line")
            for (index, line) in lines.enumerated() {
                let first = line.first { ![0x20, 0x09, 0x0D].contains($0) }
                let isEntry = first != nil && first != UInt8(ascii: "#")
                require(isEntry == numbers.contains(index + 1), "line \(index + 1) counts, or not")
            }
            let longer = try TokenFile(input + Array("\n\t# the end\n".utf8))
            require(longer.entries.count == numbers.count, "a comment changes nothing")
        } catch {
            require(error.line.map { 1...lines.count ~= $0 } ?? true, "a line that is there")
        }
    }

    private static func checkGlob(_ pattern: [UInt8], _ text: [UInt8]) {
        let texts = [pattern, text].map { String(decoding: $0, as: UTF8.self) }
        guard let glob = Glob(texts[0]) else { return }
        require(glob.literal.map(glob.matches) ?? true, "what a pattern is itself, it fits")
        let fits = glob.matches(texts[1])
        // The C library's patterns are the same, but for what else they have between brackets.
        let isPlain = (pattern + text).allSatisfy { (0x20...0x7E).contains($0) }
        let brackets = texts[0].utf8.drop { $0 != UInt8(ascii: "[") }
        guard isPlain, !brackets.dropFirst().contains(where: { "[\\".utf8.contains($0) }) else {
            return
        }
        require(fits == (fnmatch(texts[0], texts[1], 0) == 0), "\(texts[0]) and \(texts[1])")
    }
}
