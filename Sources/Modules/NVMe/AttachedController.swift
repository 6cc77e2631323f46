import Bdev
import NVMeDriver
import Reactors

/// A controller, and what the bdevs on it share: a queue pair for each reactor that uses one of them.
final class AttachedController: Sendable {
    let controller: NVMeController
    let name: String
    private let state = ThreadLock(State())

    private struct State {
        var bdevs: [String] = []
        var queues: [ObjectIdentifier: SharedQueue] = [:]
    }

    /// A queue pair that several bdevs of one reactor use.
    private struct SharedQueue {
        let pair: ReactorConfined<NVMeQueuePair>
        var userCount: Int
    }

    init(_ controller: NVMeController, name: String) {
        self.controller = controller
        self.name = name
    }

    var bdevs: [String] { state.withLock { $0.bdevs } }
    func setBdevs(_ names: [String]) { state.withLock { $0.bdevs = names } }

    // MARK: Queues

    /// The queue pair of this reactor, made for the first who asks.
    func queue(on local: isolated LocalReactor) async throws(NVMeError) -> NVMeQueuePair {
        let key = ObjectIdentifier(local.reactor)
        if let pair = take(key) { return pair.value }
        let made = try await local.makeQueuePair(of: controller)
        // Another may have been quicker, meanwhile.
        if let pair = take(key) {
            await local.close(made, of: controller)
            return pair.value
        }
        let confined = ReactorConfined(made)
        state.withLock { $0.queues[key] = SharedQueue(pair: confined, userCount: 1) }
        return made
    }

    private func take(_ key: ObjectIdentifier) -> ReactorConfined<NVMeQueuePair>? {
        state.withLock { state in
            guard state.queues[key] != nil else { return nil }
            state.queues[key]!.userCount += 1
            return state.queues[key]!.pair
        }
    }

    /// The last one closes it.
    func leaveQueue(of reactor: Reactor) async {
        let key = ObjectIdentifier(reactor)
        let last: ReactorConfined<NVMeQueuePair>? = state.withLock { state in
            guard var queue = state.queues[key] else { return nil }
            queue.userCount -= 1
            state.queues[key] = queue.userCount > 0 ? queue : nil
            return queue.userCount > 0 ? nil : queue.pair
        }
        if let last {
            let controller = controller
            await reactor.run { local in await local.close(last.value, of: controller) }
        }
    }

    // MARK: What a bdev of it is

    func properties(of namespace: NVMeNamespace) async -> BdevProperties {
        let identity = await controller.identity
        var geometry = BdevGeometry(blockByteCount: namespace.blockByteCount, blockCount: namespace.blockCount)
        // PRP entries name words.
        geometry.memoryAlignment = 4
        geometry.transferBlockCountLimit = UInt64(namespace.transferBlockCountLimit)
        // What one list names of pieces that do not lie at pages' borders.
        if identity.hasSGL {
            geometry.segmentCountLimit = 256
            geometry.segmentByteCountLimit = 1 << 31
        } else {
            geometry.segmentCountLimit = 1
            geometry.segmentByteCountLimit = 1 << 31
        }
        geometry.writeZeroesBlockCountLimit = 65_536
        geometry.unmapBlockCountLimit = UInt64(UInt32.max)
        let boundary = namespace.identity.optimalBoundaryBlockCount
        if boundary > 0 {
            geometry.optimalBoundaryBlockCount = UInt64(boundary)
            geometry.splitsAtOptimalBoundary = true
        }
        geometry.hasWriteCache = identity.hasVolatileWriteCache
        geometry.metadataByteCount = namespace.format.metadataByteCount
        geometry.isMetadataInterleaved = namespace.identity.isMetadataInterleaved
        geometry.node = controller.node
        var types: IOTypes = [.read, .write, .flush, .reset]
        if identity.hasDatasetManagement { types.insert(.unmap) }
        if identity.canWriteZeroes { types.insert(.writeZeroes) }
        if identity.canCompare { types.insert(.compare) }
        var properties = BdevProperties(
            name: "\(name)n\(namespace.id)", productName: "NVMe disk", geometry: geometry, supportedTypes: types)
        properties.uuid = namespace.uuid.flatMap(Self.uuid)
        return properties
    }

    private static func uuid(_ bytes: [UInt8]) -> BdevUUID? {
        let digits = bytes.map { byte in
            let digits = String(byte, radix: 16)
            return digits.count < 2 ? "0" + digits : digits
        }
        let groups = [digits[0..<4], digits[4..<6], digits[6..<8], digits[8..<10], digits[10..<16]]
        return BdevUUID(groups.map { $0.joined() }.joined(separator: "-"))
    }
}

/// What is behind the bdev of one namespace.
final class NamespaceDriver: BdevDriver {
    private let attached: AttachedController
    private let namespace: NVMeNamespace
    private let name: String

    init(_ attached: AttachedController, _ namespace: NVMeNamespace, name: String) {
        self.attached = attached
        self.namespace = namespace
        self.name = name
    }

    func makeChannel(
        on local: isolated LocalReactor, requests: RequestTable
    ) async throws(BdevError) -> BdevModuleChannel {
        do {
            let pair = try await attached.queue(on: local)
            let hasCache = await attached.controller.identity.hasVolatileWriteCache
            return NamespaceChannel(
                attached, namespace, pair, requests, hasVolatileWriteCache: hasCache, reactor: local.reactor)
        } catch {
            throw BdevError(.moduleFailed, bdev: name, "cannot make a queue pair: \(error)")
        }
    }
}
