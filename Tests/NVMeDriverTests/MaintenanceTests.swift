import Bdev
import NVMeBdev
import NVMeDriver
import NVMeSoftController
import Reactors
import Testing

@Suite("Controllers under maintenance")
struct MaintenanceTests {
    @Test func `one that is disabled is off, and its I/O goes another way until it is enabled`() throws {
        try simulateFleet { local, fleet in
            try await fleet.attachAll()
            let descriptor = try await fleet.engine.open("Nvme0n1", mode: .readWrite)
            try await fleet.module.disable("Nvme0", controllerID: 1)
            #expect(try await fleet.module.controllers().map(\.state) == ["disabled", "enabled"])
            let channel = try await descriptor.channel(on: local.reactor)
            try await read(descriptor, local.reactor)
            #expect(try await fleet.currentController() == 2)
            await channel.close()
            let twice = await #expect(throws: BdevError.self) {
                try await fleet.module.disable("Nvme0", controllerID: 1)
            }
            #expect(twice?.code == .busy)
            // A reset of the bdev is no reason to start it.
            try await fleet.module.reset("Nvme0", controllerID: 2)
            #expect(try await fleet.module.controllers().map(\.state) == ["disabled", "enabled"])
            try await fleet.module.enable("Nvme0", controllerID: 1)
            #expect(try await fleet.module.controllers().map(\.state) == ["enabled", "enabled"])
            let again = await #expect(throws: BdevError.self) { try await fleet.module.enable("Nvme0") }
            #expect(again?.code == .busy)
            // Without any I/O fails, and the bdev stays.
            try await fleet.module.disable("Nvme0")
            let failure = try await fleet.failure(on: local) { try await read(descriptor, fleet.engine.reactors[0]) }
            #expect(failure != nil)
            try await fleet.module.enable("Nvme0")
            try await read(descriptor, local.reactor)
            await descriptor.close()
        }
    }

    @Test func `errors are made up for the commands of one kind, as many as asked for`() throws {
        try simulateFleet(count: 1) { local, fleet in
            try await fleet.attachAll()
            let descriptor = try await fleet.engine.open("Nvme0n1", mode: .readWrite)
            try await read(descriptor, local.reactor)
            let status = NVMeStatus(type: 2, code: 0x81, doNotRetry: true)
            try await fleet.module.inject(
                ErrorInjection(opcode: IOOpcode.read, count: 2, status: status), into: .io, of: "Nvme0")
            try await descriptor.withChannel(on: local.reactor) { channel in
                var buffer = try channel.allocateBuffer(byteCount: 512)
                for index in 0..<4 {
                    do {
                        try await channel.read(at: .block(0), into: &buffer)
                        #expect(index >= 2)
                    } catch let error as BdevError { #expect(index < 2 && error.status?.detail == 0x281) }
                    try await channel.write(from: buffer, at: .block(0))
                }
            }
            try await fleet.module.inject(
                ErrorInjection(opcode: IOOpcode.read, count: 100, status: status), into: .io, of: "Nvme0")
            try await fleet.module.removeInjections(opcode: IOOpcode.read, from: .io, of: "Nvme0")
            try await read(descriptor, local.reactor)
            await descriptor.close()
        }
    }

    @Test func `errors are made up for admin commands`() throws {
        try simulateSoft { local, soft in
            let controller = try await soft.attach(on: local.reactor)
            await controller.inject(
                ErrorInjection(opcode: AdminOpcode.identify, count: 1, status: .internalError), into: .admin)
            let error = await #expect(throws: NVMeError.self) { try await controller.identify(1) }
            #expect(error?.status == .internalError)
            _ = try await controller.identify(1)
            await controller.detach()
        }
    }

    @Test func `a subsystem is reset through a bdev, with all its controllers, and I/O goes on`() throws {
        let change: SoftChange = { options, _ in options.resetsSubsystem = true }
        try simulateFleet(change: change) { local, fleet in
            try await fleet.attachAll()
            let descriptor = try await fleet.engine.open("Nvme0n1", mode: .readWrite)
            #expect(descriptor.supportsNatively(.nvmeSubsystemReset))
            try await descriptor.withChannel(on: local.reactor) { channel in try await channel.resetSubsystem() }
            try await fleet.wait("both", on: local) {
                try await fleet.module.controllers().map(\.state) == ["enabled", "enabled"]
            }
            try await fleet.sleep(.milliseconds(400), on: local)
            try await read(descriptor, local.reactor)
            try await fleet.module.disable("Nvme0", controllerID: 1)
            try await read(descriptor, local.reactor)
            await descriptor.close()
        }
    }
}
