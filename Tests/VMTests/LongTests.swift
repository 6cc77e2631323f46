import NVMeDriver
import Reactors
import Testing

extension GuestTests {
    /// What takes too long for every run: `make vm-test-fast` leaves these out.
    @Suite("At length") struct LongTests {
        /// Reads and writes of one to 64 blocks anywhere in the first MiB or so agree with a copy in memory.
        @Test(arguments: GuestTests.drives) func `random reads and writes agree with a model`(drive: String)
            async throws
        {
            let seed = UInt64.random(in: 0 ... .max)
            try await withController(drive) { local, controller in
                var random = Seeded(state: seed)
                let pair = try await local.makeQueuePair(of: controller)
                let namespace = try #require(await controller.namespaces.first)
                let size = namespace.blockByteCount, limit = await controller.transferByteLimit
                let longest = min(64, limit / size), span = 2048
                var model = [UInt8](repeating: 0, count: span * size)
                var blank = await local.buffer(byteCount: longest * size)
                blank.fill(with: 0)
                for block in stride(from: 0, to: span, by: longest) {
                    try await pair.write(namespace, at: UInt64(block), from: blank)
                }
                for step in 0..<500 {
                    let count = Int.random(in: 1...longest, using: &random)
                    let block = Int.random(in: 0...span - count, using: &random)
                    var buffer = await local.buffer(byteCount: count * size)
                    let range = block * size..<(block + count) * size
                    if Bool.random(using: &random) {
                        buffer.fillPattern(random.next())
                        try await pair.write(namespace, at: UInt64(block), from: buffer)
                        model.replaceSubrange(range, with: buffer.copied())
                    } else {
                        buffer.fill(with: 0xEE)
                        try await pair.read(namespace, at: UInt64(block), into: &buffer)
                        let found = buffer.copied()
                        try #require(
                            found == Array(model[range]), "step \(step), blocks \(block)+\(count), seed \(seed)")
                    }
                }
                await local.close(pair, of: controller)
            }
        }

        @Test func `resets again and again, with commands given anew, lose no data`() async throws {
            var options = NVMeController.Options()
            options.resumesAfterReset = true
            try await withController("large", options: options) { local, controller in
                let pair = try await local.makeQueuePair(of: controller)
                let namespace = try #require(await controller.namespaces.first)
                let commands = Commands()
                pair.add(commands)
                var given = 0
                for round in 0..<10 {
                    var written = await local.buffer(byteCount: 65536), found = await local.buffer(byteCount: 65536)
                    written.fillPattern(UInt64(round))
                    for index in 0..<64 {
                        let command = namespace.command(IOOpcode.write, at: UInt64(index * 16), count: 16)
                        #expect(pair.submit(command, data: written.memory, client: commands, token: UInt64(given)))
                        given += 1
                    }
                    try await local.sleep(for: .milliseconds(1))
                    try await controller.reset()
                    try await commands.wait(for: given, on: local)
                    #expect(commands.failures.isEmpty, "round \(round): \(commands.failures)")
                    for index in [0, 31, 63] {
                        found.fill(with: 0)
                        try await pair.read(namespace, at: UInt64(index * 16), into: &found)
                        let isSame = found.contentEquals(written)
                        #expect(isSame, "round \(round), write \(index)")
                    }
                }
                pair.remove(commands)
                await local.close(pair, of: controller)
            }
        }

        @Test func `attaching and detaching again and again leaves nothing behind`() async throws {
            for round in 0..<10 {
                try await withController("plain") { local, controller in
                    try await exercise(controller, on: local.reactor, seed: UInt64(round))
                }
            }
        }
    }
}

private struct Seeded: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var word = state
        word = (word ^ word >> 30) &* 0xBF58_476D_1CE4_E5B9
        word = (word ^ word >> 27) &* 0x94D0_49BB_1331_11EB
        return word ^ word >> 31
    }
}
