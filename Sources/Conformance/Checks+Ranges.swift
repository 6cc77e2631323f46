import Bdev
import Reactors

extension Check {
    static let ranges = [
        Check(name: "write zeroes zeroes its blocks and no others") { scene in
            try await scene.onChannel { channel in
                // More than the 1 MiB of zeros that the layer writes at once where a module cannot.
                for count in [1, 7, scene.blocks(1 << 20) + 3, scene.blocks(2 << 20) + 1] {
                    let start = UInt64(11)
                    try await scene.write(channel, at: start - 1, count + 2, version: 70)
                    try await channel.writeZeroes(at: .block(start), count: .blocks(UInt64(count)))
                    try await scene.verify(
                        channel, at: start - 1, 1, version: 70, "the block before \(count) zeroed ones")
                    try await scene.verify(channel, at: start, count, version: 0, "\(count) zeroed blocks")
                    try await scene.verify(
                        channel, at: start + UInt64(count), 1, version: 70, "the block behind \(count) zeroed ones")
                }
            }
        },
        Check(name: "unmapped blocks can be read and written again, and their neighbours keep their data") { scene in
            guard scene.descriptor.supports(.unmap) else { return }
            try await scene.onChannel { channel in
                for count in [1, 9, scene.blocks(1 << 20) + 1] {
                    let start = UInt64(21)
                    try await scene.write(channel, at: start - 1, count + 2, version: 71)
                    try await channel.unmap(at: .block(start), count: .blocks(UInt64(count)))
                    try await scene.verify(
                        channel, at: start - 1, 1, version: 71, "the block before \(count) unmapped ones")
                    try await scene.verify(
                        channel, at: start + UInt64(count), 1, version: 71, "the block behind \(count) unmapped ones")
                    if scene.suite.options.zeroesUnmappedBlocks {
                        try await scene.verify(channel, at: start, count, version: 0, "\(count) unmapped blocks")
                    } else {
                        var buffer = await channel.buffer(byteCount: count * scene.blockByteCount)
                        try await channel.read(at: .block(start), into: &buffer)
                    }
                    try await scene.write(channel, at: start, count, version: 72)
                    try await scene.verify(channel, at: start, count, version: 72, "blocks written after an unmap")
                }
            }
        },
        Check(name: "flush and reset keep what was written") { scene in
            try await scene.onChannel { channel in
                try await scene.write(channel, at: 30, 16, version: 73)
                if scene.descriptor.supports(.flush) { try await channel.flush() }
                if scene.descriptor.supports(.reset) { try await channel.reset() }
                try await scene.verify(channel, at: 30, 16, version: 73, "what was written before")
                try await scene.write(channel, at: 30, 16, version: 74)
                try await scene.verify(channel, at: 30, 16, version: 74, "what was written afterwards")
            }
        },
    ]
}
