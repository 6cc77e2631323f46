import Foundation
import NVMeDriver
import Reactors
import Testing

// Drives of unusual shapes.
extension GuestTests {
    @Test func `zones are written in order, appended to, reported and reset`() async throws {
        try await withController("zoned") { local, controller in
            let pair = try await local.makeQueuePair(of: controller)
            let namespace = try #require(await controller.namespaces.first)
            let identity = try #require(namespace.zones)
            #expect(identity.zoneBlockCount == 2048)
            #expect(identity.openLimit == 4)
            #expect(identity.activeLimit == 6)
            try await pair.manageAllZones(namespace, .reset)
            var buffer = await local.buffer(byteCount: 8192)
            buffer.fillPattern(21)
            // In the second zone: where it begins, then wherever it goes.
            try await pair.write(namespace, at: 2048, from: buffer)
            #expect(try await pair.append(namespace, zone: 2048, from: buffer) == 2048 + 16)
            var zones = try await pair.zones(namespace, from: 0, count: 3)
            #expect(zones.map(\.start) == [0, 2048, 4096])
            #expect(zones.map(\.state) == [.empty, .implicitlyOpen, .empty])
            #expect(zones[1].writePointer == 2048 + 32)
            // Out of order is refused, by the specification's name.
            let error: NVMeError?
            do throws(NVMeError) {
                try await pair.write(namespace, at: 2048 + 100, from: buffer)
                error = nil
            } catch let thrown {
                error = thrown
            }
            #expect(error?.status?.type == 1)
            #expect(error?.description.contains("zone invalid write") == true, "\(String(describing: error))")
            try await pair.manage(namespace, zone: 2048, .finish)
            zones = try await pair.zones(namespace, from: 2048, count: 1)
            #expect(zones.map(\.state) == [.full])
            var read = await local.buffer(byteCount: 8192)
            try await pair.read(namespace, at: 2048 + 16, into: &read)
            let differences = read.differences(from: buffer)
            #expect(differences.isEmpty)
            try await pair.manage(namespace, zone: 2048, .reset)
            let all = try await pair.zones(namespace, from: 0, count: 64)
            #expect(all.filter { $0.state == .empty }.count == 64)
            await local.close(pair, of: controller)
        }
    }

    @Test func `blocks that cannot be read fail alone, with the specification's name`() async throws {
        try await withController("bad") { local, controller in
            let pair = try await local.makeQueuePair(of: controller)
            let namespace = try #require(await controller.namespaces.first)
            var buffer = await local.buffer(byteCount: 4096)
            for _ in 0..<3 {
                let error: NVMeError?
                do throws(NVMeError) {
                    try await pair.read(namespace, at: 2048, into: &buffer)
                    error = nil
                } catch let thrown {
                    error = thrown
                }
                #expect(error?.code == .commandFailed)
                #expect(error?.status?.matches(.unrecoveredReadError) == true, "\(String(describing: error))")
                try await pair.read(namespace, at: 2056, into: &buffer)
                try await pair.write(namespace, at: 2048, from: buffer)
            }
            #expect(await controller.state == .ready)
            await local.close(pair, of: controller)
        }
    }
}
