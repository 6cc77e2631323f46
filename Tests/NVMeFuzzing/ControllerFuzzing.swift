import Logging
import NVMeDriver
import NVMeSoftController
import Reactors
import SimulatedReactors

/// Has the driver work with a controller that answers what it must not.
public enum ControllerFuzzing {
    /// What the driver promises and did not keep.
    public struct Failure: Error, CustomStringConvertible {
        public let description: String
    }

    /// What any controller may do to the driver is: fail its calls. Nothing traps, every command ends, every call
    /// returns, and once the controller answers as it should a new attachment works.
    ///
    /// `script`: how answers are altered; any bytes. `isZoned`: one of its namespaces has zones. `isProtected`: one has
    /// protection information of an extended format. `isVerbose`: what the driver logs is shown.
    /// - Throws: ``Failure``.
    public static func run(
        _ script: [UInt8], isZoned: Bool = false, isProtected: Bool = false, isVerbose: Bool = false
    ) throws {
        try Simulation(seed: 1).run { local in
            var options = controller
            if isProtected {
                options.namespaces[1].metadataByteCount = 16
                options.namespaces[1].protectionType = 1
                options.namespaces[1].protectionFormat = .guard64
            }
            if isZoned { options.namespaces[1].zones = SoftZoneOptions(blockCount: 16) }
            let soft = try SoftController(options, on: local)
            await soft.tamper(with: script)
            let session = ReactorConfined(Session(isVerbose)), reactor = local.reactor
            Task(executorPreference: reactor.taskExecutor) {
                await reactor.run { local in await session.value.run(soft, on: local) }
            }
            try await wait("it still has to \(session.value.step)", on: local) { session.value.isOver }
            if let complaint = session.value.complaint { throw Failure(description: complaint) }
            await soft.tamper(with: [])
            let sound = ReactorConfined(Session(isVerbose))
            Task(executorPreference: reactor.taskExecutor) {
                await reactor.run { local in await sound.value.checkSoundness(soft, on: local) }
            }
            try await wait("the sound controller is not attached", on: local) { sound.value.isOver }
            if let complaint = sound.value.complaint { throw Failure(description: complaint) }
            await soft.powerOff()
        }
    }

    private static func wait(
        _ what: @autoclosure () -> String, on local: isolated LocalReactor, until isDone: () -> Bool
    ) async throws {
        for _ in 0..<30_000 {
            if isDone() { return }
            try await local.sleep(for: .milliseconds(1))
        }
        throw Failure(description: "after 30 seconds \(what())")
    }

    private static var controller: SoftController.Options {
        var options = SoftController.Options()
        options.namespaces = [SoftNamespaceOptions(blockCount: 64), SoftNamespaceOptions(blockCount: 64)]
        options.namespaces[0].uuid = Array(1...16)
        options.namespaces[1].metadataByteCount = 8
        options.transferPageShift = 2
        options.readyTimeout = 1
        options.hasDoorbellBuffers = true
        options.hasSGL = true
        return options
    }

    fileprivate static func driver(isVerbose: Bool) -> NVMeController.Options {
        var options = NVMeController.Options()
        options.adminTimeout = .milliseconds(100)
        options.formatTimeout = .milliseconds(200)
        options.commandTimeout = .milliseconds(100)
        options.timeoutAction = .abort
        options.queueEntryCount = 8
        options.requestCount = 16
        if !isVerbose { options.logger = Logger(label: "fuzz") { _ in SwiftLogNoOpLogHandler() } }
        return options
    }
}

/// What is done with a controller.
private final class Session {
    private let options: NVMeController.Options
    private(set) var isOver = false
    private(set) var complaint: String?
    /// What it is about to do.
    private(set) var step = "attach"

    init(_ isVerbose: Bool) { options = ControllerFuzzing.driver(isVerbose: isVerbose) }

    func run(_ soft: SoftController, on local: isolated LocalReactor) async {
        defer { isOver = true }
        guard let controller = try? await soft.attach(on: local.reactor, options: options) else { return }
        step = "makeQueuePair"
        if let pair = try? await local.makeQueuePair(of: controller) {
            for namespace in await controller.namespaces.prefix(4) { await use(namespace, pair, on: local) }
            await administrate(controller)
            step = "close"
            await local.close(pair, of: controller)
            if pair.outstanding > 0 { complaint = "\(pair.outstanding) commands have not ended" }
        }
        step = "detach"
        await controller.detach()
    }

    private func use(_ namespace: NVMeNamespace, _ pair: NVMeQueuePair, on local: isolated LocalReactor) async {
        var data = await local.buffer(byteCount: max(namespace.blockByteCount, 512) * 2)
        var metadata = await local.buffer(byteCount: max(namespace.separateMetadataByteCount, 4) * 2)
        data.fill(with: 1)
        step = "write"
        try? await pair.write(namespace, at: 0, from: data, metadata: metadata)
        step = "read"
        try? await pair.read(namespace, at: 0, into: &data, metadata: &metadata)
        step = "read"
        try? await pair.read(namespace, at: namespace.blockCount - 1, into: &data)
        if namespace.protection != nil {
            step = "write and have it protected"
            try? await pair.write(namespace, at: 0, from: data, metadata: metadata, options: .protectionAction)
            step = "verify"
            try? await pair.verify(
                namespace, at: 0, count: 2, options: [.checksGuard, .checksStorageTag, .checksReferenceTag])
        }
        step = "compareAndWrite"
        try? await pair.compareAndWrite(namespace, at: 0, expected: data, new: data)
        step = "deallocate"
        try? await pair.deallocate(namespace, [BlockRange(start: 0, count: 1), BlockRange(start: 2, count: 1)])
        step = "copy"
        try? await pair.copy(namespace, [BlockRange(start: 0, count: 1)], to: 3)
        step = "flush"
        try? await pair.flush(namespace)
        if namespace.zones != nil {
            step = "zones"
            _ = try? await pair.zones(namespace, from: 0, count: 10)
            step = "append"
            _ = try? await pair.append(namespace, zone: 16, from: data, metadata: metadata)
            step = "manageAllZones"
            try? await pair.manageAllZones(namespace, .reset)
        }
        step = "reservationReport"
        _ = try? await pair.reservationReport(namespace)
    }

    private func administrate(_ controller: NVMeController) async {
        step = "logPage"
        _ = try? await controller.logPage(2, byteCount: 512)
        step = "rescan"
        try? await controller.rescan()
        step = "createNamespace"
        _ = try? await controller.createNamespace(NamespaceSpecification(blockCount: 8))
        step = "attach the controller"
        try? await controller.attach(namespace: 3)
        step = "format"
        try? await controller.format(1, formatIndex: 1)
        step = "reset"
        try? await controller.reset()
        step = "feature"
        _ = try? await controller.feature(7)
    }

    func checkSoundness(_ soft: SoftController, on local: isolated LocalReactor) async {
        defer { isOver = true }
        do throws(NVMeError) {
            let controller = try await soft.attach(on: local.reactor, options: options)
            let pair = try await local.makeQueuePair(of: controller)
            if let namespace = await controller.namespaces.first(where: { $0.id == 1 }) {
                var data = await local.buffer(byteCount: namespace.blockByteCount)
                data.fill(with: 9)
                try await pair.write(namespace, at: 1, from: data)
                data.fill(with: 0)
                try await pair.read(namespace, at: 1, into: &data)
                if data.copied().contains(where: { $0 != 9 }) { complaint = "what was written is not what is read" }
            } else {
                complaint = "the first namespace is not there"
            }
            await local.close(pair, of: controller)
            await controller.detach()
        } catch {
            complaint = "the sound controller does not work: \(error)"
        }
    }
}
