import NVMeDriver
import NVMeSoftController
import Reactors
import SimulatedReactors
import Testing

@Suite("Where a command's data is")
struct DataPointerTests {
    private func options(hasSGL: Bool) -> SoftController.Options {
        var options = SoftController.Options()
        options.namespaces = [SoftNamespaceOptions(blockCount: 8192)]
        options.hasSGL = hasSGL
        return options
    }

    @Test(arguments: [512, 4096, 4608, 8192, 12_800, 69_632])
    func `at every word of a page, the right bytes are written and read`(byteCount: Int) throws {
        try simulateSoft(options: options(hasSGL: false)) { local, soft in
            let controller = try await soft.attach(on: local.reactor)
            let pair = try await local.makeQueuePair(of: controller), recorder = Recorder()
            pair.add(recorder)
            var area = await local.buffer(byteCount: byteCount + 8192)
            let other = await local.buffer(byteCount: byteCount + 8192)
            for offset in stride(from: 0, to: area.byteCount - 7, by: 8) {
                area.store(UInt64(offset) &* 0x9E37_79B9_7F4A_7C15, at: offset)
            }
            for offset in stride(from: 0, to: 4096, by: 4) {
                let written = area.memory.slice(from: offset, count: byteCount)
                let found = other.memory.slice(from: 4092 - offset, count: byteCount)
                let token = UInt64(offset)
                var command = SubmissionQueueEntry(opcode: IOOpcode.write, namespaceID: 1)
                command.startBlock = UInt64(offset / 4 % 64)
                command.cdw12 = UInt32(byteCount / 512 - 1)
                #expect(pair.submit(command, data: written, client: recorder, token: token))
                #expect(await recorder.completion(token, on: local).status == .success)
                command.opcode = IOOpcode.read
                found.zero()
                #expect(pair.submit(command, data: found, client: recorder, token: token + 1))
                #expect(await recorder.completion(token + 1, on: local).status == .success)
                let isSame = found.contentEquals(written)
                #expect(isSame, "at offset \(offset)")
            }
            pair.remove(recorder)
            await local.close(pair, of: controller)
            await controller.detach()
        }
    }

    @Test(arguments: 0..<40)
    func `several stretches are written and read where they can be named`(round: Int) throws {
        let seed = UInt64.random(in: 1 ... .max), hasSGL = round % 2 == 1
        try simulateSoft(seed: seed, options: options(hasSGL: hasSGL)) { local, soft in
            var random = SeededGenerator(seed: seed)
            let controller = try await soft.attach(on: local.reactor)
            let pair = try await local.makeQueuePair(of: controller), recorder = Recorder()
            pair.add(recorder)
            var area = await local.buffer(byteCount: 1 << 20)
            let other = await local.buffer(byteCount: 1 << 20)
            for offset in stride(from: 0, to: area.byteCount, by: 8) { area.store(random.next(), at: offset) }
            var token: UInt64 = 0
            for _ in 0..<60 {
                let layout = Layout(using: &random)
                let written = layout.pieces.map { area.memory.slice(from: $0.lowerBound, count: $0.count) }
                var command = SubmissionQueueEntry(opcode: IOOpcode.write, namespaceID: 1)
                command.startBlock = UInt64.random(in: 0..<1024, using: &random)
                command.cdw12 = UInt32(layout.byteCount / 512 - 1)
                token += 2
                #expect(pair.submit(command, segments: written, client: recorder, token: token))
                let status = await recorder.completion(token, on: local).status
                let canBeNamed = layout.isWordAligned && (hasSGL || layout.hasPagesOnly) || hasSGL
                #expect(status.isSuccess == canBeNamed, "\(status): \(layout.pieces) (seed \(seed))")
                if !status.isSuccess { continue }
                command.opcode = IOOpcode.read
                let found = other.memory.slice(from: 0, count: layout.byteCount)
                #expect(pair.submit(command, data: found, client: recorder, token: token + 1))
                #expect(await recorder.completion(token + 1, on: local).status == .success)
                var offset = 0
                for piece in written {
                    let isSame = found.slice(from: offset, count: piece.byteCount).contentEquals(piece)
                    #expect(isSame, "\(layout.pieces), from byte \(offset) on (seed \(seed))")
                    offset += piece.byteCount
                }
            }
            pair.remove(recorder)
            await local.close(pair, of: controller)
            await controller.detach()
        }
    }

    /// Some pieces of 1 MiB of memory that together are whole blocks of 512 bytes.
    private struct Layout {
        var pieces: [Range<Int>] = []
        var byteCount: Int { pieces.reduce(0) { $0 + $1.count } }

        init(using random: inout SeededGenerator) {
            let unit = [1, 4, 512, 4096].randomElement(using: &random)!
            let total = 512 * Int.random(in: 1...64, using: &random)
            var left = total
            while left > 0 {
                let most = max(1, min(left, 8192) / unit)
                var count = min(left, unit * Int.random(in: 1...most, using: &random))
                if pieces.count == 31 { count = left }
                let start = unit * Int.random(in: 0...((1 << 20) - count) / unit, using: &random)
                pieces.append(start..<start + count)
                left -= count
            }
        }

        /// All but the two ends lie at pages' borders.
        var hasPagesOnly: Bool {
            pieces.dropFirst().allSatisfy { $0.lowerBound % 4096 == 0 }
                && pieces.dropLast().allSatisfy { $0.upperBound % 4096 == 0 }
        }
        var isWordAligned: Bool { pieces[0].lowerBound % 4 == 0 }
    }

    @Test func `memory that the device cannot reach is refused, and never handed to it`() throws {
        try simulateSoft { local, soft in
            let controller = try await soft.attach(on: local.reactor)
            let pair = try await local.makeQueuePair(of: controller), recorder = Recorder()
            pair.add(recorder)
            var buffer = await local.buffer(byteCount: 4096)
            buffer.fill(with: 7)
            let before = pair.statistics.submitted
            // SAFETY: the buffer's own memory, as one that belongs to no region.
            let stray = unsafe IOMemory(base: buffer.memory.base, byteCount: 4096, arena: 0)
            var command = SubmissionQueueEntry(opcode: IOOpcode.write, namespaceID: 1)
            command.cdw12 = 7
            #expect(pair.submit(command, data: stray, client: recorder, token: 1))
            #expect(recorder.completions.isEmpty)
            #expect(await recorder.completion(1, on: local).status == .dataTransferError)
            #expect(pair.statistics.submitted == before)
            pair.remove(recorder)
            await local.close(pair, of: controller)
            await controller.detach()
        }
    }
}

/// Numbers that a seed repeats (SplitMix64).
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var word = state
        word = (word ^ word >> 30) &* 0xBF58_476D_1CE4_E5B9
        word = (word ^ word >> 27) &* 0x94D0_49BB_1331_11EB
        return word ^ word >> 31
    }
}
