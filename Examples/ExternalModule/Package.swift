// swift-tools-version: 6.2
import PackageDescription

let package = Package(
    name: "external-module",
    products: [.library(name: "PatternBdev", targets: ["PatternBdev"])],
    dependencies: [.package(name: "swift-bdev", path: "../..")],
    targets: [
        .target(
            name: "PatternBdev",
            dependencies: [
                .product(name: "Bdev", package: "swift-bdev"),
                .product(name: "Reactors", package: "swift-bdev"),
            ],
            swiftSettings: [.swiftLanguageMode(.v6)]),
        .testTarget(
            name: "PatternBdevTests", dependencies: ["PatternBdev"], swiftSettings: [.swiftLanguageMode(.v6)]),
    ]
)
