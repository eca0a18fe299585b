import Foundation
import Glibc
import SharedMemory
import Testing

@Suite struct `The directory of key files` {
    @Test func `knows the files that lie right in it`() throws {
        let directory = KeyFileDirectory(environment("/tmp"))
        for path in ["/tmp/some", "/tmp/...", "/tmp/.hidden"] {
            #expect(directory.file(of: name(path)) != nil, "\(path)")
        }
        let others = [
            "/tmp", "/tmp/", "/tmp/.", "/tmp/..", "/tmp/some/x", "/tmpsome", "/tmp//some",
            "/var/some",
        ]
        for path in others { #expect(directory.file(of: name(path)) == nil, "\(path)") }
        #expect(directory.file(of: .key(NativeKey("/tmp/some", type: .posix))) == nil)
        #expect(directory.file(of: .identifier(1)) == nil)
    }

    @Test func `has no address for a file that is not there, or a link`() throws {
        try withPlaces { place in
            #expect(place.file.address == nil)
            #expect(symlink("/dev/null", place.path) == 0)
            #expect(place.file.address == nil)
            #expect(unlink(place.path) == 0)
            try make(place.path)
            #expect(place.file.address == address(of: place.path))
        }
    }

    @Test(arguments: NameChange.allCases)
    func `is not believed of a name that leads elsewhere, however long it led here`(
        change: NameChange
    ) throws {
        try withPlaces {
            try make($0.path)
        } onceSettled: { place in
            let first = place.file.address
            for _ in 1...50 {
                try change.apply(to: place.path)
                #expect(place.file.address == address(of: place.path))
                #expect(place.file.address != first)
                guard change.canBeUndone else { break }
                try change.undo(at: place.path)
                #expect(place.file.address == first)
            }
        }
    }

    @Test func `is not believed of a name that a link took the place of`() throws {
        try withPlaces {
            try make($0.path)
        } onceSettled: { place in
            try #require(symlink(place.path, place.path + "-link") == 0)
            try #require(rename(place.path + "-link", place.path) == 0)
            #expect(place.file.address == nil)
        }
    }

    @Test func `is not asked for long once another took its place`() throws {
        try withPlaces {
            try make($0.path)
        } onceSettled: { place in
            let first = place.file.address
            try #require(rename(place.root, place.root + "-old") == 0)
            defer { try? FileManager.default.removeItem(atPath: place.root + "-old") }
            try #require(mkdir(place.root, 0o700) == 0)
            let end = MonotonicInstant.now.advanced(byMilliseconds: 5_000)
            while place.file.address != nil, MonotonicInstant.now < end { usleep(1_000) }
            #expect(place.file.address == nil)
            try make(place.path)
            let second = address(of: place.path)
            #expect(second != first)
            #expect(place.file.address == second)
            #expect(unlink(place.path) == 0)
            #expect(place.file.address == nil)
        }
    }

    // MARK: Helpers

    /// A directory, and a file that is to lie in it.
    private struct Place {
        let root: String
        let path: String
        let file: PlainKeyFile
    }

    /// Tries something in memory and on a disk, where the machine has one, and once more when nothing in
    /// the directories has changed for so long that they alone are asked where the files lead.
    private func withPlaces(
        _ body: (Place) throws -> Void, onceSettled settledBody: ((Place) throws -> Void)? = nil
    ) throws {
        let places = try ["/dev/shm", "/var/tmp"].map { ground in
            let root = "\(ground)/keys-\(getpid())-\(UInt64.random(in: .min ... .max))"
            try #require(mkdir(root, 0o700) == 0)
            let path = root + "/some"
            let file = try #require(KeyFileDirectory(environment(root)).file(of: name(path)))
            return Place(root: root, path: path, file: file)
        }
        defer { for place in places { try? FileManager.default.removeItem(atPath: place.root) } }
        for place in places { try body(place) }
        guard let settledBody else { return }
        let addresses = places.map { address(of: $0.path) }
        let end = MonotonicInstant.now.advanced(byMilliseconds: 2_300)
        while MonotonicInstant.now < end {
            for (place, address) in zip(places, addresses) {
                try #require(place.file.address == address)
            }
            usleep(1_000)
        }
        for place in places { try settledBody(place) }
    }

    private func environment(_ directory: String) -> KeyEnvironment {
        KeyEnvironment(
            temporaryDirectory: directory, workingDirectory: "/", userID: geteuid(), userName: "me")
    }

    private func name(_ path: String) -> SegmentName { .key(NativeKey(path, type: .systemV)) }

    /// What `ftok` makes of the file.
    private func address(of path: String) -> KernelAddress? {
        let key = ftok(path, 81)
        return key == -1 ? nil : .systemV(key)
    }

    private func make(_ path: String) throws {
        let descriptor = open(path, O_RDWR | O_CREAT | O_EXCL, 0o600)
        try #require(descriptor >= 0)
        close(descriptor)
    }
}
