import Foundation
import SegmentAPI

/// A text in base64, or bytes to be written so; Foundation is the judge.
enum Base64Target {
    @Sendable static func check(_ input: [UInt8]) {
        let text = String(decoding: input, as: UTF8.self)
        if let bytes = Base64.decode(text) {
            require(Data(base64Encoded: text) == Data(bytes), "Foundation decodes the same")
            require(encode(bytes).elementsEqual(text.utf8), "only what an encoder writes is read")
        } else if let theirs = Data(base64Encoded: text) {
            require(theirs.base64EncodedString() != text, "what an encoder writes is read")
        }

        let encoded = encode(input)
        require(encoded.elementsEqual(Data(input).base64EncodedString().utf8), "Foundation's")
        require(encoded.count == Base64.encodedCount(of: input.count), "the length foretold")
        require(Base64.decode(String(decoding: encoded, as: UTF8.self)) == input, "there and back")

        // Its first byte says how the input is cut into pieces.
        let step = Int(input.first ?? 0) % 7 + 1
        var pieces: [UInt8] = []
        var encoder = Base64.Encoder()
        for start in stride(from: 0, to: input.count, by: step) {
            let end = min(start + step, input.count)
            encoder.append(input.span.extracting(start..<end), to: &pieces)
        }
        encoder.finish(&pieces)
        require(pieces == encoded, "pieces of any size make the same text")
    }

    private static func encode(_ bytes: [UInt8]) -> [UInt8] {
        var text: [UInt8] = []
        Base64.encode(bytes.span, into: &text)
        return text
    }
}
