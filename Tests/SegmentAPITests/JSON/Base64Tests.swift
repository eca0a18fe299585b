import Foundation
import SegmentAPI
import Testing

struct Base64Tests {
    @Test(arguments: [
        ("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="),
        ("fooba", "Zm9vYmE="), ("foobar", "Zm9vYmFy"),
    ])
    func `the vectors of the standard hold`(plain: String, encoded: String) {
        var output: [UInt8] = []
        Base64.encode(Array(plain.utf8).span, into: &output)
        #expect(String(decoding: output, as: UTF8.self) == encoded)
        #expect(output.count == Base64.encodedCount(of: plain.utf8.count))
        #expect(Base64.decode(encoded) == Array(plain.utf8))
    }

    @Test(arguments: [
        "Z", "Zg", "Zg=", "Zg===", "Zm8", "====", "=", "==", "Zm=8", "Z===", "Zh==", "Zm9=",
        "Zm8=\n",
        " Zm9v", "Zm9v\n", "Zm9\u{0}", "Zm-_", "Zg==Zg==", "Zm9v====", "é===", "Zm9vé=",
    ])
    func `what no encoder writes is refused`(text: String) {
        #expect(Base64.decode(text) == nil)
    }

    @Test func `random bytes in random pieces come out as Foundation writes them`() {
        var random = SeededGenerator(seed: 2)
        for count in 0..<300 {
            let bytes = random.bytes(count)
            var encoder = Base64.Encoder()
            var output: [UInt8] = []
            var start = 0
            while start < count {
                let end = Int.random(in: start...min(start + 9, count), using: &random)
                encoder.append(bytes.span.extracting(start..<end), to: &output)
                start = end
            }
            encoder.finish(&output)
            let text = String(decoding: output, as: UTF8.self)
            #expect(text == Data(bytes).base64EncodedString())
            #expect(Base64.decode(text) == bytes)
        }
    }

    @Test func `a count beyond an integer is the largest integer`() {
        #expect(Base64.encodedCount(of: .max) == .max)
    }
}
