import NVMeDriver
import Reactors
import Testing

extension IOBuffer {
    /// Bytes that repeat nowhere within reach, and differ from seed to seed.
    mutating func fillPattern(_ seed: UInt64) {
        for index in 0..<byteCount / 8 { store(Self.word(index, seed), at: 8 * index) }
        for index in byteCount / 8 * 8..<byteCount { store(UInt8(truncatingIfNeeded: index), at: index) }
    }

    /// The first ranges of bytes that differ.
    func differences(from other: borrowing IOBuffer) -> [Range<Int>] {
        let mine = copied(), theirs = other.copied()
        var result: [Range<Int>] = []
        for index in mine.indices where mine[index] != theirs[index] {
            if let last = result.last, last.upperBound == index {
                result[result.count - 1] = last.lowerBound..<index + 1
            } else if result.count < 12 {
                result.append(index..<index + 1)
            }
        }
        return result
    }

    private static func word(_ index: Int, _ seed: UInt64) -> UInt64 {
        var word = (UInt64(index) &+ seed &* 0x1_0000_0001) &* 0x9E37_79B9_7F4A_7C15
        word ^= word >> 29
        return word &* 0xBF58_476D_1CE4_E5B9
    }
}

/// Gives commands by hand, and waits for them together.
final class Commands: NVMeClient {
    private(set) var ended: [UInt64: NVMeCompletion] = [:]
    private var doubles: [UInt64] = []

    override func commandCompleted(token: UInt64, _ completion: NVMeCompletion) {
        if ended.updateValue(completion, forKey: token) != nil { doubles.append(token) }
    }

    /// Waits until `count` commands have ended, each of them once.
    func wait(for count: Int, on local: isolated LocalReactor) async throws {
        for _ in 0..<20_000 where ended.count < count { try await local.sleep(for: .milliseconds(1)) }
        try #require(ended.count == count, "\(ended.count) of \(count) commands ended in 20 s")
        #expect(doubles.isEmpty, "ended twice: \(doubles)")
    }

    /// Whether all that ended did so with success.
    var failures: [NVMeStatus] { ended.values.map(\.status).filter { !$0.isSuccess } }
}

extension NVMeNamespace {
    /// A command that moves `count` blocks.
    func command(_ opcode: UInt8, at block: UInt64, count: Int) -> SubmissionQueueEntry {
        var command = SubmissionQueueEntry(opcode: opcode, namespaceID: id)
        command.startBlock = block
        command.cdw12 = UInt32(count - 1)
        return command
    }
}
