import Bdev
import Logging
import NVMeDriver
import Reactors

// Controllers that are lost, and come back or do not.
extension Subsystem {
    /// A controller could not be reset, or was pulled out. What was under way on it has ended.
    func lost(_ path: ControllerPath, isRemoved: Bool) async {
        let recovers = path.recovery.reconnects && path.canReconnect
        let controller = path.lose(recovers ? .lost : .failed)
        await synchronize()
        await controller?.onEvent(nil)
        await controller?.detach()
        if !recovers {
            // What was pulled out does not come back by a reset.
            if isRemoved || !path.canReconnect { await drop(path) }
            return
        }
        logger.warning("\(name): \(path.address) is lost; it is tried again every \(path.recovery.reconnectDelay)")
        let limit = path.recovery.fastFailTimeout, generation = path.generation
        Task(executorPreference: home.taskExecutor) { await self.recover(path, generation) }
        if limit == .zero { return }
        Task(executorPreference: home.taskExecutor) {
            await self.pause(limit)
            if path.generation != generation { return }
            path.failFast()
            await self.synchronize()
        }
    }

    /// Tries until it is back, or has been away for too long.
    private func recover(_ path: ControllerPath, _ generation: UInt64) async {
        let start = await now()
        func isOver() -> Bool { path.generation != generation || !paths.contains { $0 === path } }
        while true {
            var pauseTime = path.recovery.reconnectDelay
            if let limit = path.recovery.lossTimeout {
                let left = limit - start.duration(to: await now())
                if left <= .zero { break }
                pauseTime = min(pauseTime, left)
            }
            await pause(pauseTime)
            if isOver() { return }
            if await reconnect(path) { return }
            if isOver() { return }
        }
        logger.error("\(name): \(path.address) has not come back in time: it is given up")
        await drop(path)
    }

    private func now() async -> ReactorInstant { await home.run { local in local.now } }

    /// Brings a lost controller back. Whether that has succeeded.
    func reconnect(_ path: ControllerPath) async -> Bool {
        let generation = path.generation
        do throws(NVMeError) {
            let controller = try await path.reconnect()
            let identity = await controller.identity
            let others = paths.contains { $0 !== path && $0.controllerID == identity.controllerID }
            // Somebody else may have been quicker, or given the path up; or it is another controller.
            if path.generation != generation || !paths.contains(where: { $0 === path }) || others
                || identity.controllerID != path.controllerID
            {
                await controller.detach()
                return path.phase == .connected
            }
            path.adopt(controller, controllerID: identity.controllerID)
            logger.notice("\(name): \(path.address) is back")
            await listen(to: controller, as: path)
            do throws(BdevError) {
                try await match(path, controller, isFirst: false)
            } catch {
                logger.warning("\(name): \(error)")
            }
            notice(path)
            return true
        } catch {
            logger.debug("\(name): \(error)")
            return false
        }
    }
}
