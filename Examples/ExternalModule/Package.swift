// swift-tools-version: 6.2
import PackageDescription

let package = Package(
    name: "external-module",
    products: [
        .library(name: "PatternBdev", targets: ["PatternBdev"]),
        .library(name: "MirrorBdev", targets: ["MirrorBdev"]),
    ],
    dependencies: [.package(name: "swift-bdev", path: "../..")],
    targets: [
        .target(
            name: "PatternBdev",
            dependencies: [
                .product(name: "Bdev", package: "swift-bdev"),
                .product(name: "Reactors", package: "swift-bdev"),
            ],
            swiftSettings: [.swiftLanguageMode(.v6)]),
        .target(
            name: "MirrorBdev",
            dependencies: [
                .product(name: "Bdev", package: "swift-bdev"),
                .product(name: "Reactors", package: "swift-bdev"),
            ],
            swiftSettings: [.swiftLanguageMode(.v6)]),
        .testTarget(
            name: "MirrorBdevTests",
            dependencies: [
                "MirrorBdev",
                .product(name: "BdevConformance", package: "swift-bdev"),
                .product(name: "MallocBdev", package: "swift-bdev"),
            ],
            swiftSettings: [.swiftLanguageMode(.v6)]),
        .testTarget(
            name: "PatternBdevTests", dependencies: ["PatternBdev"], swiftSettings: [.swiftLanguageMode(.v6)]),
    ]
)
