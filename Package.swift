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
    .target(
        name: "SimulatedReactors",
        dependencies: ["Reactors", .product(name: "SystemPackage", package: "swift-system")]),
    .target(
        name: "Bdev",
        dependencies: ["Reactors", .product(name: "Logging", package: "swift-log")]),
    .target(name: "NullBdev", dependencies: ["Bdev", "Reactors"], path: "Sources/Modules/Null"),
    .target(name: "MallocBdev", dependencies: ["Bdev", "Reactors"], path: "Sources/Modules/Malloc"),
    .target(
        name: "UringBdev",
        dependencies: [
            "Bdev", "Reactors", .product(name: "DequeModule", package: "swift-collections"),
            .product(name: "Logging", package: "swift-log"), .product(name: "SystemPackage", package: "swift-system"),
        ],
        path: "Sources/Modules/Uring"),
    .target(name: "PassthruBdev", dependencies: ["Bdev", "Reactors"], path: "Sources/Modules/Passthru"),
    .target(name: "ZoneBlockBdev", dependencies: ["Bdev", "Reactors"], path: "Sources/Modules/ZoneBlock"),
    .target(
        name: "SplitBdev",
        dependencies: ["Bdev", "Reactors", .product(name: "Logging", package: "swift-log")],
        path: "Sources/Modules/Split"),
    .target(name: "DelayBdev", dependencies: ["Bdev", "Reactors"], path: "Sources/Modules/Delay"),
    .target(name: "ErrorBdev", dependencies: ["Bdev", "Reactors"], path: "Sources/Modules/Error"),
    .target(
        name: "LogBdev",
        dependencies: ["Bdev", "Reactors", .product(name: "SystemPackage", package: "swift-system")],
        path: "Sources/Modules/Log"),
    .target(
        name: "NVMeDriver",
        dependencies: [
            "CLinux", "Reactors", .product(name: "Logging", package: "swift-log"),
            .product(name: "SystemPackage", package: "swift-system"),
        ]),
    .target(
        name: "NVMeSoftController",
        dependencies: ["NVMeDriver", "Reactors", .product(name: "SystemPackage", package: "swift-system")]),
    .target(
        name: "NVMeBdev",
        dependencies: [
            "Bdev", "NVMeDriver", "Reactors", .product(name: "Logging", package: "swift-log"),
        ],
        path: "Sources/Modules/NVMe"),
    .target(name: "BdevConformance", dependencies: ["Bdev", "Reactors"], path: "Sources/Conformance"),
    .target(
        name: "BdevConfiguration",
        dependencies: [
            "Bdev", "DelayBdev", "ErrorBdev", "LogBdev", "MallocBdev", "NVMeBdev", "NVMeDriver", "NullBdev",
            "PassthruBdev", "Reactors", "SplitBdev", "UringBdev", "ZoneBlockBdev",
        ],
        path: "Sources/Control/BdevConfiguration"),
]

/// What a user would copy, and bdevperf: the public products only. nvme-perf uses the package's own clock and ring too.
let examples: [Target] = [
    .executableTarget(
        name: "bdevperf",
        dependencies: [
            "Bdev", "BdevConfiguration", "MallocBdev", "NullBdev", "Reactors", "ToolSupport", "UringBdev",
            .product(name: "ArgumentParser", package: "swift-argument-parser"),
            .product(name: "Logging", package: "swift-log"),
            .product(name: "SystemPackage", package: "swift-system"),
        ],
        path: "Examples/Bdevperf", exclude: ["README.md"]),
    .executableTarget(
        name: "hello-bdev", dependencies: ["Bdev", "MallocBdev", "Reactors"], path: "Examples/HelloBdev",
        exclude: ["README.md"]),
    .target(
        name: "ToolSupport",
        dependencies: [
            .product(name: "ArgumentParser", package: "swift-argument-parser"),
            .product(name: "SystemPackage", package: "swift-system"),
        ],
        path: "Examples/ToolSupport"),
    .target(
        name: "NVMeTools", dependencies: ["NVMeDriver", "NVMeSoftController", "Reactors", "ToolSupport"],
        path: "Examples/NVMeTools"),
    .executableTarget(
        name: "hello-nvme", dependencies: ["NVMeDriver", "NVMeSoftController", "Reactors"], path: "Examples/HelloNVMe",
        exclude: ["README.md"]),
    .executableTarget(
        name: "nvme-identify",
        dependencies: [
            "NVMeDriver", "NVMeSoftController", "NVMeTools", "Reactors", "ToolSupport",
            .product(name: "ArgumentParser", package: "swift-argument-parser"),
            .product(name: "Logging", package: "swift-log"),
        ],
        path: "Examples/NVMeIdentify", exclude: ["README.md"]),
    .executableTarget(
        name: "nvme-perf",
        dependencies: [
            "Bdev", "NVMeBdev", "NVMeDriver", "NVMeSoftController", "NVMeTools", "Reactors", "ToolSupport",
            .product(name: "ArgumentParser", package: "swift-argument-parser"),
            .product(name: "Logging", package: "swift-log"),
            .product(name: "SystemPackage", package: "swift-system"),
        ],
        path: "Examples/NVMePerf", exclude: ["README.md"]),
    .executableTarget(
        name: "numa-pinning", dependencies: ["Bdev", "MallocBdev", "Reactors"], path: "Examples/NUMAPinning",
        exclude: ["README.md"]),
    .executableTarget(
        name: "swift-service",
        dependencies: [
            "Bdev", "MallocBdev", "Reactors",
            .product(name: "Logging", package: "swift-log"),
            .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
            .product(name: "UnixSignals", package: "swift-service-lifecycle"),
        ],
        path: "Examples/SwiftService", exclude: ["README.md"]),
]

let tests: [Target] = [
    .testTarget(name: "CompileTests", dependencies: ["Bdev", "Reactors"]),
    .testTarget(name: "LintTests"),
    .testTarget(
        name: "SimulatedReactorsTests",
        dependencies: [
            "Bdev", "Reactors", "SimulatedReactors", "UringBdev",
            .product(name: "SystemPackage", package: "swift-system"),
        ]),
    .target(name: "CMallocCount", path: "Tests/CMallocCount"),
    .target(
        name: "TestSupport", dependencies: [.product(name: "Logging", package: "swift-log")],
        path: "Tests/TestSupport"),
    .testTarget(
        name: "BdevTests",
        dependencies: [
            "Bdev", "CMallocCount", "NullBdev", "Reactors", "SimulatedReactors",
            .product(name: "Logging", package: "swift-log"),
            .product(name: "SystemPackage", package: "swift-system"),
        ]),
    .testTarget(
        name: "StressTests",
        dependencies: [
            "Bdev", "DelayBdev", "ErrorBdev", "LogBdev", "MallocBdev", "NullBdev", "PassthruBdev", "Reactors",
            "SimulatedReactors", "SplitBdev", "ZoneBlockBdev", .product(name: "Logging", package: "swift-log"),
            .product(name: "SystemPackage", package: "swift-system"),
        ]),
    .testTarget(
        name: "NVMeDriverTests",
        dependencies: [
            "Bdev", "BdevConformance", "CLinux", "CMallocCount", "NVMeBdev", "NVMeDriver", "NVMeFuzzing",
            "NVMeSoftController", "Reactors", "SimulatedReactors", "SplitBdev",
            .product(name: "Logging", package: "swift-log"), .product(name: "SystemPackage", package: "swift-system"),
        ]),
    .target(
        name: "NVMeFuzzing",
        dependencies: [
            "NVMeDriver", "NVMeSoftController", "Reactors", "SimulatedReactors",
            .product(name: "Logging", package: "swift-log"),
        ],
        path: "Tests/NVMeFuzzing", exclude: ["Corpus"]),
    .target(name: "CFuzz", path: "Tests/CFuzz"),
    .executableTarget(name: "nvme-fuzz", dependencies: ["CFuzz", "NVMeFuzzing"], path: "Tests/NVMeFuzz"),
    // Does something only in the guest that `make vm-test` starts.
    .testTarget(
        name: "VMTests",
        dependencies: [
            "Bdev", "BdevConfiguration", "BdevConformance", "NVMeBdev", "NVMeDriver", "Reactors", "TestSupport",
            "hello-nvme", "numa-pinning", "nvme-identify", "nvme-perf",
            .product(name: "SystemPackage", package: "swift-system"),
        ]),
    .testTarget(
        name: "ReactorsTests",
        dependencies: ["Reactors", "CLinux", .product(name: "SystemPackage", package: "swift-system")]),
    .testTarget(
        name: "ConfigurationTests",
        dependencies: [
            "Bdev", "BdevConfiguration", "DelayBdev", "ErrorBdev", "LogBdev", "MallocBdev", "NVMeBdev",
            "NVMeSoftController", "NullBdev", "PassthruBdev", "Reactors", "SplitBdev", "UringBdev", "ZoneBlockBdev",
        ]),
    .testTarget(
        name: "ExampleTests",
        dependencies: [
            "bdevperf", "hello-bdev", "hello-nvme", "numa-pinning", "nvme-identify", "nvme-perf", "swift-service",
        ]),
    .testTarget(
        name: "ModuleTests",
        dependencies: [
            "Bdev", "BdevConformance", "CMallocCount", "DelayBdev", "ErrorBdev", "LogBdev", "MallocBdev", "NullBdev",
            "PassthruBdev", "Reactors", "SimulatedReactors", "SplitBdev", "TestSupport", "UringBdev", "ZoneBlockBdev",
            .product(name: "SystemPackage", package: "swift-system"),
        ]),
]

let package = Package(
    name: "swift-bdev",
    products: [
        .library(name: "Reactors", targets: ["Reactors"]),
        .library(name: "SimulatedReactors", targets: ["SimulatedReactors"]),
        .library(name: "Bdev", targets: ["Bdev"]),
        .library(name: "NullBdev", targets: ["NullBdev"]),
        .library(name: "BdevConfiguration", targets: ["BdevConfiguration"]),
        .library(name: "MallocBdev", targets: ["MallocBdev"]),
        .library(name: "UringBdev", targets: ["UringBdev"]),
        .library(name: "PassthruBdev", targets: ["PassthruBdev"]),
        .library(name: "SplitBdev", targets: ["SplitBdev"]),
        .library(name: "DelayBdev", targets: ["DelayBdev"]),
        .library(name: "ErrorBdev", targets: ["ErrorBdev"]),
        .library(name: "ZoneBlockBdev", targets: ["ZoneBlockBdev"]),
        .library(name: "LogBdev", targets: ["LogBdev"]),
        .library(name: "NVMeBdev", targets: ["NVMeBdev"]),
        .library(
            name: "BdevModules",
            targets: [
                "NullBdev", "MallocBdev", "UringBdev", "PassthruBdev", "SplitBdev", "DelayBdev", "ErrorBdev",
                "ZoneBlockBdev", "LogBdev", "NVMeBdev",
            ]),
        .library(name: "NVMeDriver", targets: ["NVMeDriver"]),
        .library(name: "NVMeSoftController", targets: ["NVMeSoftController"]),
        .library(name: "BdevConformance", targets: ["BdevConformance"]),
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
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
    ],
    targets: libraries + examples + tests
)

// TEST_TARGETS="BdevTests ModuleTests": nothing is built for tests but these, of those that do not run the examples.
if let wanted = Context.environment["TEST_TARGETS"]?.split(separator: " ").map(String.init) {
    package.targets.removeAll { $0.type == .executable || $0.type == .test && !wanted.contains($0.name) }
}

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
