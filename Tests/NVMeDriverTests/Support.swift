import NVMeDriver
import NVMeSoftController
import Reactors
import SimulatedReactors

/// Runs `body` in a simulation with a soft controller; of two namespaces unless `options` says otherwise.
func simulateSoft(
    seed: UInt64 = .random(in: 1 ... .max), options: SoftController.Options? = nil,
    _ body: @escaping @Sendable (isolated LocalReactor, SoftController) async throws -> Void
) throws {
    let simulation = Simulation(seed: seed)
    try simulation.run { local in
        var standard = SoftController.Options()
        standard.namespaces = [SoftNamespaceOptions(blockCount: 4096), SoftNamespaceOptions(blockCount: 1024)]
        standard.namespaces[1].dataByteCount = 4096
        let soft = try SoftController(options ?? standard, on: local)
        try await body(local, soft)
        await soft.powerOff()
    }
}

/// Keeps what its commands ended with.
final class Recorder: NVMeClient {
    private(set) var completions: [UInt64: NVMeCompletion] = [:]
    private(set) var order: [UInt64] = []
    private(set) var roomCount = 0

    override func commandCompleted(token: UInt64, _ completion: NVMeCompletion) {
        precondition(completions[token] == nil, "command \(token) has ended twice")
        completions[token] = completion
        order.append(token)
    }

    override func queueHasRoom() { roomCount += 1 }

    /// What the command with this token ended with, once it has.
    nonisolated(nonsending) func completion(_ token: UInt64, on local: LocalReactor) async -> NVMeCompletion {
        while completions[token] == nil { await local.yield() }
        return completions[token]!
    }
}

extension NVMeQueuePair {
    /// Writes blocks and their metadata, which lies apart in `metadata` or, where the namespace has it so, in `data`.
    nonisolated(nonsending) func write(
        _ namespace: NVMeNamespace, at block: UInt64, _ data: borrowing IOBuffer, _ metadata: borrowing IOBuffer,
        _ options: BlockOptions, _ tags: NVMeProtectionTags?
    ) async throws(NVMeError) {
        if namespace.separateMetadataByteCount == 0 {
            try await write(namespace, at: block, from: data, options: options, tags: tags)
        } else {
            try await write(namespace, at: block, from: data, metadata: metadata, options: options, tags: tags)
        }
    }

    /// The same, the other way.
    nonisolated(nonsending) func read(
        _ namespace: NVMeNamespace, at block: UInt64, _ data: inout IOBuffer, _ metadata: inout IOBuffer,
        _ options: BlockOptions, _ tags: NVMeProtectionTags?
    ) async throws(NVMeError) {
        if namespace.separateMetadataByteCount == 0 {
            try await read(namespace, at: block, into: &data, options: options, tags: tags)
        } else {
            try await read(namespace, at: block, into: &data, metadata: &metadata, options: options, tags: tags)
        }
    }
}
