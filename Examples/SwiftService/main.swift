import Logging
import ServiceLifecycle
import UnixSignals

/// Increments a counter until it is asked to end.
struct Worker: Service {
    let counter: BlockCounter
    let block: UInt64
    let logger: Logger

    func run() async throws {
        try await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                let value = try await counter.increment(block)
                if value % 10 == 0 { logger.info("block \(block) has counted to \(value)") }
                try? await Task.sleep(for: .milliseconds(20))
            }
        }
        logger.info("worker of block \(block) ended")
    }
}

/// Keeps the bdev open while the workers use it. First in the group, so last to end.
struct Storage: Service {
    let counter: BlockCounter
    let logger: Logger

    func run() async throws {
        try? await gracefulShutdown()
        await counter.close()
        logger.info("storage closed")
    }
}

let logger = Logger(label: "swift-service")
let counter = try await BlockCounter()
let services: [any Service] =
    [Storage(counter: counter, logger: logger)] + (0..<4).map { Worker(counter: counter, block: $0, logger: logger) }
let group = ServiceGroup(
    services: services, gracefulShutdownSignals: [.sigterm, .sigint], logger: logger)
logger.info("service started")
try await group.run()
