/// The digest that Qt puts into the names it derives from legacy keys.
///
/// It is ours because those names need it and nothing else does: a package for it would be the
/// library's only dependency. It must not be used where a forged digest could do harm.
package enum SHA1 {
    /// Digests bytes.
    ///
    /// - Parameter bytes: What to digest.
    /// - Returns: The digest as 40 lower-case hexadecimal digits.
    package static func hexadecimalDigest(of bytes: some Sequence<UInt8>) -> String {
        let message = padded(bytes)
        var state: [UInt32] = [0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476, 0xC3D2_E1F0]
        for start in stride(from: 0, to: message.count, by: 64) {
            compress(message[start..<start + 64], into: &state)
        }

        let digits = Array("0123456789abcdef".utf8)
        let nibbles = state.flatMap { word in
            stride(from: 28, through: 0, by: -4).map { digits[Int(word >> UInt32($0)) & 15] }
        }
        return String(decoding: nibbles, as: UTF8.self)
    }

    // A one bit, zeros, and the length in bits, up to a multiple of 64 bytes.
    private static func padded(_ bytes: some Sequence<UInt8>) -> [UInt8] {
        var message = Array(bytes)
        let bitCount = UInt64(message.count) * 8
        message.append(0x80)
        message += repeatElement(0, count: (120 - message.count % 64) % 64)
        message += stride(from: 56, through: 0, by: -8).map { shift in
            UInt8(truncatingIfNeeded: bitCount >> shift)
        }
        return message
    }

    private static func compress(_ block: ArraySlice<UInt8>, into state: inout [UInt32]) {
        var words = stride(from: block.startIndex, to: block.endIndex, by: 4).map { index in
            block[index..<index + 4].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        }
        for index in 16..<80 {
            let word = words[index - 3] ^ words[index - 8] ^ words[index - 14] ^ words[index - 16]
            words.append(word.rotated(by: 1))
        }

        var (a, b, c, d, e) = (state[0], state[1], state[2], state[3], state[4])
        for (index, word) in words.enumerated() {
            let (mix, constant): (UInt32, UInt32) =
                switch index {
                case 0..<20: ((b & c) | (~b & d), 0x5A82_7999)
                case 20..<40: (b ^ c ^ d, 0x6ED9_EBA1)
                case 40..<60: ((b & c) | (b & d) | (c & d), 0x8F1B_BCDC)
                default: (b ^ c ^ d, 0xCA62_C1D6)
                }
            let next = a.rotated(by: 5) &+ mix &+ e &+ constant &+ word
            (a, b, c, d, e) = (next, a, b.rotated(by: 30), c, d)
        }
        for (index, word) in [a, b, c, d, e].enumerated() { state[index] &+= word }
    }
}

extension UInt32 {
    fileprivate func rotated(by count: UInt32) -> UInt32 { self << count | self >> (32 - count) }
}
