import Bdev
import NVMeBdev
import NVMeDriver
import Reactors

/// An engine with a bdev for each namespace of some controllers, which are its from here on.
final class Bdevs {
    private let engine: BdevEngine
    private var opened: [BdevDescriptor] = []

    init(of controllers: [NVMeController], on group: ReactorGroup) async throws {
        engine = BdevEngine(group: group)
        do {
            let module = NVMeModule()
            try await engine.register(module)
            for (index, controller) in controllers.enumerated() {
                _ = try await module.add(controller, as: Self.prefix(index))
            }
        } catch {
            await engine.stop()
            throw error
        }
    }

    /// Opens the bdev of a namespace; `index`: of its controller.
    func open(_ namespace: NVMeNamespace, _ index: Int, writes: Bool) async throws -> BdevDescriptor {
        let descriptor = try await engine.open(
            "\(Self.prefix(index))n\(namespace.id)", mode: writes ? .readWrite : .readOnly)
        opened.append(descriptor)
        return descriptor
    }

    /// Gives the controllers back.
    func end() async {
        for descriptor in opened { await descriptor.close() }
        await engine.stop()
    }

    private static func prefix(_ index: Int) -> String { "nvme\(index)" }
}

/// Keeps a bdev busy through its synchronous face: each completion submits the next.
final class BdevWorker: IOHandler {
    private let load: Load
    private let channel: EngineChannel

    init(_ load: Load, _ channel: EngineChannel) {
        self.load = load
        self.channel = channel
    }

    @inline(__always)
    func submit(_ next: consuming IOBuffer?) {
        guard let io = load.next() else { return load.endIfIdle() }
        var buffer = next
        do throws(BdevError) {
            if io.isRead {
                try channel.read(into: &buffer, at: .block(io.block), tag: io.start, handler: self)
            } else {
                try channel.write(from: &buffer, at: .block(io.block), tag: io.start, handler: self)
            }
        } catch {
            // Refused, and it would be again: the slot ends.
            load.failed("\(error)")
            load.endIfIdle()
        }
    }

    override func ioCompleted(_ completion: consuming IOCompletion) {
        if completion.status.isSuccess {
            load.succeeded(since: completion.tag)
        } else {
            load.failed("\(channel.name): \(completion.type) failed with \(completion.status)")
        }
        submit(completion.buffer.take())
    }
}
