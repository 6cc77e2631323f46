// swift-tools-version: 6.2
import PackageDescription

/// The library targets. Folders follow the layers: a target imports only what stands above it in this list.
let libraries: [Target] = [
    .target(
        name: "CLinux",
        linkerSettings: [.linkedLibrary("uring"), .linkedLibrary("numa"), .linkedLibrary("blkid")]),
    .target(
        name: "Reactors",
        dependencies: [
            "CLinux",
            .product(name: "HeapModule", package: "swift-collections"),
            .product(name: "SystemPackage", package: "swift-system"),
        ]),
    .target(name: "SimulatedReactors", dependencies: ["Reactors"]),
    .target(
        name: "Bdev",
        dependencies: ["Reactors", .product(name: "Logging", package: "swift-log")]),
    .target(name: "NullBdev", dependencies: ["Bdev", "Reactors"], path: "Sources/Modules/Null"),
]

let tests: [Target] = [
    .testTarget(name: "CompileTests", dependencies: ["Bdev", "Reactors"]),
    .testTarget(name: "LintTests"),
    .testTarget(name: "SimulatedReactorsTests", dependencies: ["Reactors", "SimulatedReactors"]),
    .testTarget(
        name: "BdevTests",
        dependencies: [
            "Bdev", "NullBdev", "Reactors", "SimulatedReactors",
            .product(name: "SystemPackage", package: "swift-system"),
        ]),
    .testTarget(
        name: "ReactorsTests",
        dependencies: ["CLinux", "Reactors", .product(name: "SystemPackage", package: "swift-system")]),
]

let package = Package(
    name: "swift-bdev",
    products: [
        .library(name: "Reactors", targets: ["Reactors"]),
        .library(name: "SimulatedReactors", targets: ["SimulatedReactors"]),
        .library(name: "Bdev", targets: ["Bdev"]),
        .library(name: "NullBdev", targets: ["NullBdev"]),
    ],
    traits: [
        .trait(
            name: "ContinuationParking",
            description: "Wait for an I/O through a continuation instead of a parked job (see docs/reactors.md).")
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-system", from: "1.8.1"),
        .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    ],
    targets: libraries + tests
)

for target in package.targets where target.type != .system {
    target.swiftSettings = [
        .swiftLanguageMode(.v6),
        .strictMemorySafety(),
        .treatAllWarnings(as: .error),
        .enableUpcomingFeature("ExistentialAny"),
        .enableUpcomingFeature("MemberImportVisibility"),
        .enableUpcomingFeature("InternalImportsByDefault"),
        .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
        .enableUpcomingFeature("InferIsolatedConformances"),
        .enableExperimentalFeature("Lifetimes"),
    ]
    target.cSettings = [.define("_GNU_SOURCE")]
}
