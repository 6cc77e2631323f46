import NVMeDriver
import Reactors

/// A command as the controller has fetched it.
struct SoftCommand {
    private let words: [UInt32]

    init(_ entry: IOMemory) { words = (0..<16).map { entry.load(at: 4 * $0) } }

    subscript(word: Int) -> UInt32 { words[word] }
    var opcode: UInt8 { UInt8(truncatingIfNeeded: words[0]) }
    var fusion: SubmissionQueueEntry.Fusion { .init(rawValue: UInt8(words[0] >> 8 & 3)) ?? .none }
    var usesSGL: Bool { words[0] >> 14 & 3 != 0 }
    var identifier: UInt16 { UInt16(words[0] >> 16) }
    var namespaceID: UInt32 { words[1] }
    var metadataPointer: UInt64 { quad(4) }
    var dataPointer1: UInt64 { quad(6) }
    var dataPointer2: UInt64 { quad(8) }
    var startBlock: UInt64 { quad(10) }
    var blockCount: UInt64 { UInt64(words[12] & 0xFFFF) + 1 }
    /// PIREMAP, of Zone Append: the reference tags are made to be of where the blocks go.
    var remapsReferenceTags: Bool { words[12] >> 25 & 1 != 0 }
    private func quad(_ word: Int) -> UInt64 { UInt64(words[word]) | UInt64(words[word + 1]) << 32 }
}
