// swift-tools-version: 6.3
import PackageDescription

// Every Swift target is built by the same strict rules; a warning is an error.
let strict: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
    .strictMemorySafety(),
    .treatAllWarnings(as: .error),
]

// Tests are full of expansions and C calls that would each have to be spelled `unsafe`.
let tests: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .treatAllWarnings(as: .error),
]

// Read from the bottom up: a target imports only what stands below it.
//
//     segmentd                         parse flags, wire, run, exit
//        │
//     SegmentAPI                       HTTP ⇄ service: routes, JSON, status codes
//      │      │
//     SegmentService   MicroHTTP       policy │ transport (neither knows the other)
//      │                │
//     SharedMemory     CMicroHTTPD     mechanism │ the C library
//      │
//     CSharedMemory                    the few calls Swift cannot make
let package = Package(
    name: "segmentd",
    products: [
        .library(name: "SharedMemory", targets: ["SharedMemory"]),
        .library(name: "MicroHTTP", targets: ["MicroHTTP"]),
        .executable(name: "segmentd", targets: ["segmentd"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    ],
    targets: [
        .target(name: "CSharedMemory"),
        .target(name: "SharedMemory", dependencies: ["CSharedMemory"], swiftSettings: strict),
        .systemLibrary(
            name: "CMicroHTTPD",
            pkgConfig: "libmicrohttpd",
            providers: [.apt(["libmicrohttpd-dev"])]
        ),
        .target(name: "MicroHTTP", dependencies: ["CMicroHTTPD"], swiftSettings: strict),
        .target(
            name: "SegmentService",
            dependencies: ["SharedMemory", "CSharedMemory"],
            swiftSettings: strict
        ),
        .target(name: "COpenAPI"),  // openapi.yaml, to be served
        .target(
            name: "SegmentAPI",
            dependencies: ["SegmentService", "SharedMemory", "MicroHTTP", "COpenAPI"],
            swiftSettings: strict
        ),
        .executableTarget(
            name: "segmentd",
            dependencies: [
                "SegmentAPI",
                "SegmentService",
                "MicroHTTP",
                "SharedMemory",
                "CSharedMemory",
                "CMicroHTTPD",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: strict
        ),
        .testTarget(
            name: "SharedMemoryTests",
            dependencies: ["SharedMemory"],
            exclude: ["Vectors"],
            swiftSettings: tests
        ),
        .testTarget(name: "MicroHTTPTests", dependencies: ["MicroHTTP"], swiftSettings: tests),
        .testTarget(
            name: "SegmentServiceTests",
            dependencies: ["SegmentService", "CSharedMemory"],
            swiftSettings: tests
        ),
        .testTarget(name: "SegmentAPITests", dependencies: ["SegmentAPI"], swiftSettings: tests),
    ],
    swiftLanguageModes: [.v6],
    cLanguageStandard: .gnu2x  // for #embed
)

// What tries the parsers, for scripts/fuzz-parsers alone: libFuzzer brings a main function of its
// own, and all code has to be built for it.
if Context.environment["SEGMENTD_FUZZ"] != nil {
    package.targets.append(
        .executableTarget(
            name: "FuzzParsers",
            dependencies: ["SegmentAPI", "SegmentService", "MicroHTTP", "SharedMemory"],
            path: "Tests/Fuzz",
            exclude: ["Corpus"],
            swiftSettings: tests
        )
    )
}
