import Bdev
import Reactors
import SimulatedReactors
import SystemPackage
import Testing

/// Where there is data and where there is none.
struct SeekTests {
    private static let geometry = BdevGeometry(blockByteCount: 512, blockCount: 40)

    @Test func `a device that knows says where data and holes begin`() throws {
        try simulate(geometry: Self.geometry, types: .native) { _, scene in
            try await scene.withChannel { channel in
                for block in [UInt64](10..<20) + [39] { #expect(await channel.writeOnce(at: block, 1) == nil) }
                for (from, data, hole) in [
                    (0, 10, 0), (9, 10, 9), (10, 10, 20), (19, 19, 20), (20, 39, 20), (38, 39, 38), (39, 39, nil),
                ] as [(UInt64, UInt64?, UInt64?)] {
                    #expect(await channel.nextData(.block(from), is: data))
                    #expect(await channel.nextHole(.byte(from * 512), is: hole))
                }
                try await channel.unmap(at: .block(39), count: .blocks(1))
                #expect(await channel.nextData(.block(20), is: nil))
            }
        }
    }

    @Test func `without a device that knows everything is data, and the device hears nothing`() throws {
        try simulate(geometry: Self.geometry) { _, scene in
            try await scene.withChannel(.readOnly) { channel in
                for block in [UInt64(0), 7, 39] {
                    #expect(await channel.nextData(.block(block), is: block))
                    #expect(await channel.nextHole(.block(block), is: nil))
                }
                #expect(scene.device.submissionCount == 0)
                // What follows in the same request has nothing of the answer.
                #expect(await channel.readOnce(at: 0) == nil)
                #expect(await channel.nextData(.block(3), is: 3))
            }
        }
    }

    @Test(arguments: [true, false])
    func `a seek begins inside the bdev`(native: Bool) throws {
        try simulate(geometry: Self.geometry, types: native ? .native : .everything) { _, scene in
            try await scene.withChannel { channel in
                for offset in [BdevOffset.block(40), .block(.max), .byte(40 * 512)] {
                    #expect(
                        await code { () throws(BdevError) in _ = try await channel.nextData(from: offset) }
                            == .outOfRange)
                    #expect(
                        await code { () throws(BdevError) in _ = try await channel.nextHole(from: offset) }
                            == .outOfRange)
                }
                #expect(
                    await code { () throws(BdevError) in _ = try await channel.nextHole(from: .byte(1)) }
                        == .misaligned)
                #expect(scene.device.submissionCount == 0)
            }
        }
    }

    @Test func `a seek that fails or is cancelled throws`() throws {
        try simulate(geometry: Self.geometry, types: .native) { here, scene in
            scene.device.answer = { _ in .system(.ioError) }
            try await scene.withChannel { channel in
                #expect(await channel.attempt(.seekData, at: 0) == .mediaError)
                scene.device.pace = .held
                let seek = Task(executorPreference: channel.reactor.taskExecutor) {
                    await channel.attempt(.seekHole, at: 0)
                }
                await channel.reactor.local.settle()
                seek.cancel()
                #expect(await seek.value == .aborted)
            }
        }
    }
}

extension BdevChannel {
    fileprivate func nextData(_ offset: BdevOffset, is expected: UInt64?) async -> Bool {
        do { return try await nextData(from: offset) == expected } catch { return false }
    }

    fileprivate func nextHole(_ offset: BdevOffset, is expected: UInt64?) async -> Bool {
        do { return try await nextHole(from: offset) == expected } catch { return false }
    }
}
