public import Bdev
public import NVMeDriver
import Reactors

extension NVMeModule {
    /// What a command that somebody has sent by hand came to.
    public struct CommandReply: Sendable, Hashable {
        public let completion: NVMeCompletion
        /// What the controller sent; empty when it was to send nothing, or has failed.
        public let data: [UInt8]
    }

    /// Gives a command to the first controller of what is attached as `name` that can be reached, and waits for its
    /// end: on the admin queue, or on a queue pair made for it.
    ///
    /// - Parameters:
    ///   - command: those that are the driver's own, and those that say where their data is, are refused.
    ///   - queues: where it belongs.
    ///   - data: what is sent with it.
    ///   - readByteCount: how much the controller sends; `data` is empty then.
    ///   - name: as it was attached.
    /// - Throws: `noSuchBdev`; `invalidArgument`, `notSupported`; `deviceFailed` without a controller; `aborted`.
    public func send(
        _ command: NVMeCommand, to queues: NVMeController.QueueKind, data: [UInt8] = [], readByteCount: Int = 0,
        of name: String
    ) async throws(BdevError) -> CommandReply {
        guard let entry = SubmissionQueueEntry(anyNamespace: command) else {
            throw BdevError(.invalidArgument, "a command does not say itself where its data is")
        }
        if queues == .admin, AdminOpcode.isDriversOwn(command.opcode) {
            throw BdevError(.notSupported, "admin command \(command.opcode) is the driver's own")
        }
        let byteCount = max(data.count, readByteCount)
        for path in await (try find(name)).paths {
            guard let controller = path.controller else { continue }
            if await byteCount > controller.transferByteLimit {
                throw BdevError(.invalidArgument, "\(byteCount) bytes are too many for one command")
            }
            do throws(NVMeError) {
                return try await Self.give(entry, queues, data, readByteCount, controller)
            } catch {
                guard let status = error.status, error.code == .commandFailed else {
                    throw BdevError(error, "cannot send a command")
                }
                return CommandReply(completion: NVMeCompletion(status: status), data: [])
            }
        }
        throw BdevError(.deviceFailed, "no controller of '\(name)' can be reached")
    }

    private static func give(
        _ command: SubmissionQueueEntry, _ queues: NVMeController.QueueKind, _ data: [UInt8], _ readByteCount: Int,
        _ controller: NVMeController
    ) async throws(NVMeError) -> CommandReply {
        try await controller.reactor.run { local throws(NVMeError) in
            let pair = queues == .io ? try await local.makeQueuePair(of: controller) : nil
            let reply: Result<CommandReply, NVMeError>
            do throws(NVMeError) {
                let result: UInt64
                var found: [UInt8] = []
                if max(data.count, readByteCount) > 0 {
                    var buffer = await local.buffer(byteCount: max(data.count, readByteCount))
                    buffer.fill(with: 0)
                    for (index, byte) in data.enumerated() { buffer.store(byte, at: index) }
                    if let pair {
                        result = try await pair.execute(command, data: &buffer)
                    } else {
                        result = try await controller.execute(command, data: &buffer)
                    }
                    if readByteCount > 0 { found = Array(buffer.copied().prefix(readByteCount)) }
                } else if let pair {
                    result = try await pair.execute(command)
                } else {
                    result = try await controller.execute(command)
                }
                reply = .success(CommandReply(completion: NVMeCompletion(result: result), data: found))
            } catch { reply = .failure(error) }
            if let pair { await local.close(pair, of: controller) }
            return try reply.get()
        }
    }
}
