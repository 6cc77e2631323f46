public import Bdev
public import NVMeDriver
import Reactors

// What operators do to controllers besides attaching them.
extension NVMeModule {
    private func chosen(
        _ name: String, _ controllerID: UInt16?
    ) async throws(BdevError) -> (Subsystem, [ControllerPath]) {
        let subsystem = try find(name)
        let chosen = await subsystem.paths.filter { controllerID == nil || $0.controllerID == controllerID }
        if let controllerID, chosen.isEmpty {
            throw BdevError(.noSuchBdev, "'\(name)' has no controller \(controllerID)")
        }
        return (subsystem, chosen)
    }

    /// Shuts the controllers of what is attached as `name` down until ``enable(_:controllerID:)``; with a
    /// `controllerID` only that one. Bdevs stay. I/O goes another way, or fails when there is none.
    ///
    /// - Throws: `noSuchBdev`; `busy` when one is off already; `notSupported` when nobody knows how to make it again.
    public func disable(_ name: String, controllerID: UInt16? = nil) async throws(BdevError) {
        let (subsystem, paths) = try await chosen(name, controllerID)
        for path in paths {
            if path.phase == .disabled {
                throw BdevError(.busy, "the controller at \(path.address) is disabled already")
            }
            if !path.canReconnect {
                throw BdevError(
                    .notSupported, "the controller at \(path.address) was handed over ready: nobody could enable it")
            }
        }
        for path in paths { await subsystem.disable(path) }
    }

    /// Starts controllers again that were disabled.
    ///
    /// - Throws: `noSuchBdev`; `busy` when one is not disabled; `deviceFailed` when one does not come back.
    public func enable(_ name: String, controllerID: UInt16? = nil) async throws(BdevError) {
        let (subsystem, paths) = try await chosen(name, controllerID)
        for path in paths where path.phase != .disabled {
            throw BdevError(.busy, "the controller at \(path.address) is not disabled")
        }
        for path in paths where !(await subsystem.reconnect(path)) {
            throw BdevError(.deviceFailed, "the controller at \(path.address) does not come back")
        }
    }

    /// Gives the controller that `bdev` is reached by first a firmware image, in a slot of its choice, and resets it so
    /// that the image is used.
    ///
    /// - Parameters:
    ///   - image: a multiple of 4 bytes.
    ///   - bdev: one of this module's.
    /// - Throws: `noSuchBdev`; `notSupported`, `invalidArgument`, `deviceFailed`, as the controller says.
    public func applyFirmware(_ image: [UInt8], to bdev: String) async throws(BdevError) {
        guard let path = try await firstPath(of: bdev), let controller = path.controller else {
            throw BdevError(.deviceFailed, bdev: bdev, "no controller can be reached")
        }
        do throws(NVMeError) {
            try await controller.updateFirmware(image, slot: 0, action: .storeAndActivateAtReset)
            try await controller.reset()
        } catch {
            throw BdevError(error, bdev: bdev, "cannot apply a firmware image")
        }
    }

    private func firstPath(of bdev: String) async throws(BdevError) -> ControllerPath? {
        for subsystem in state.withLock({ Array($0.subsystems.values) }) {
            for each in await subsystem.bdevs.values where each.name == bdev {
                return each.table.entries.first { $0.path.controller != nil }?.path
            }
        }
        throw BdevError(.noSuchBdev, bdev: bdev, "there is no NVMe bdev of this name")
    }

    /// What the queue pairs of all controllers have done, by reactor.
    public func queueStatistics() async -> [NVMeController.QueueStatistics] {
        var result: [NVMeController.QueueStatistics] = []
        for subsystem in state.withLock({ Array($0.subsystems.values) }) {
            for path in await subsystem.paths {
                if let controller = path.controller { result += await controller.queueStatistics() }
            }
        }
        return result
    }

    /// Has commands end with a made-up error: on the controllers of what is attached as `name`. Each queue pair counts
    /// for itself.
    ///
    /// - Throws: `noSuchBdev`.
    public func inject(
        _ injection: ErrorInjection, into queues: NVMeController.QueueKind, of name: String
    ) async throws(BdevError) {
        for path in await (try find(name)).paths { await path.controller?.inject(injection, into: queues) }
    }

    /// The reverse.
    ///
    /// - Throws: `noSuchBdev`.
    public func removeInjections(
        opcode: UInt8, from queues: NVMeController.QueueKind, of name: String
    ) async throws(BdevError) {
        for path in await (try find(name)).paths {
            await path.controller?.removeInjections(opcode: opcode, from: queues)
        }
    }
}

extension Subsystem {
    fileprivate func disable(_ path: ControllerPath) async {
        let controller = path.lose(.disabled)
        await synchronize()
        await controller?.onEvent(nil)
        await controller?.detach()
        // What was under way has ended with that.
        await synchronize()
    }
}
