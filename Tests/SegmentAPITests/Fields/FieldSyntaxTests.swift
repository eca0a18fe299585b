import SegmentAPI
import Testing

struct FieldSyntaxTests {
    @Test(arguments: [
        "bytes=-,0195 x", "bytes */-0195", "abq/;=,\"\\ *.01+-", "a=%&+19-é",
        "[]{}\",:\\u0dDaA9.e-tn ",
    ])
    func `random text of awkward characters is never fatal`(alphabet: String) {
        var random = SeededGenerator(seed: 7)
        let characters = Array(alphabet.unicodeScalars)
        for _ in 0..<4000 {
            var scalars = String.UnicodeScalarView()
            for _ in 0..<Int.random(in: 0..<24, using: &random) {
                scalars.append(
                    contentsOf: characters.randomElement(using: &random).map { [$0] } ?? [])
            }
            let text = String(scalars)
            for size in [0, 1, 10, Int.max] {
                _ = ByteRange("bytes=" + text).resolve(byteCount: size)
            }
            _ = ByteRange(text)
            _ = try? ContentRange("bytes " + text)
            _ = MediaType(text)
            _ = Accept(text).best(of: [.json, .plainText])
            _ = try? Query(text.utf8)
            _ = try? JSONParser.parse(Array(text.utf8))
            _ = JSONNumber(text)?.exactInt
            _ = Base64.decode(text)
        }
    }
}
