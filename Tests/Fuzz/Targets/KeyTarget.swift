import SegmentService
import SharedMemory

/// A segment's name as it stands in a path, or a native key in its text form.
enum KeyTarget {
    private static let environment = KeyEnvironment(
        temporaryDirectory: "/tmp", workingDirectory: "/", userID: 0, userName: "root")
    private static let service = SegmentService(
        configuration: SegmentService.Configuration(environment: environment))

    @Sendable static func check(_ input: [UInt8]) {
        let text = String(decoding: input, as: UTF8.self)
        if let key = NativeKey(text: text) { checkKey(key) }
        checkName(text)
        checkDerived(text)
    }

    private static func checkKey(_ key: NativeKey) {
        // As in Qt, a legacy key loses one byte order mark each time it is read.
        if key.legacyKey?.unicodeScalars.first != "\u{FEFF}" {
            require(NativeKey(text: key.text) == key, "\(key.text) reads as itself")
        }
        guard (try? key.validate()) != nil else { return }
        require(!key.value.utf8.contains(0), "no NUL gets through")
        switch key.type {
        case .posix:
            let name = key.posixName.utf8
            require(1...251 ~= name.count, "a name that fits, with its lock's")
            require(!name.contains(UInt8(ascii: "/")), "a name in no other directory")
            require(key.posixName != "." && key.posixName != "..", "no directory")
        case .systemV(let projectID):
            require(projectID != 0, "a project id")
            require(key.value.utf8.first == UInt8(ascii: "/"), "an absolute path")
            require(key.value.utf8.count <= 4095, "a path that fits")
            let components = key.value.utf8.split(separator: UInt8(ascii: "/"))
            require(!components.contains { $0.elementsEqual("..".utf8) }, "no way up")
        case .windows:
            require(false, "a Windows key names nothing here")
        }
    }

    private static func checkName(_ text: String) {
        guard let name = (try? service.name(fromPath: text))?.name else { return }
        guard case .key(let key) = name else { return }
        // The name that a plain key makes may be too long, which the kernel is left to say.
        let isLong = key.legacyKey?.utf8.count ?? 0 > 100
        require(isLong || (try? key.validate()) != nil, "a name that was taken can name a segment")
        guard key.legacyKey?.unicodeScalars.first != "\u{FEFF}", !isLong else { return }
        let again = (try? service.name(fromPath: name.description))?.name
        require(again == name, "\(name) leads to itself")
    }

    private static func checkDerived(_ plain: String) {
        for purpose in KeyPurpose.allCases {
            for type in [KeyType.systemV, .posix] {
                let key = NativeKey.legacy(
                    plain, type: type, for: purpose, environment: environment)
                require(key.value.isEmpty == plain.isEmpty, "a key for a key, nothing for nothing")
                guard !plain.isEmpty else { continue }
                let isLong = (try? key.validate()) == nil
                require(!isLong || plain.utf8.count > 100, "only the long ones do not fit")
                require(!key.value.dropFirst(5).utf8.contains(UInt8(ascii: "/")), "in its place")
            }
        }
    }
}
