import Bdev
import Reactors

extension Check {
    static let basics = [
        Check(name: "the first, the last and straddling blocks keep their data") { scene in
            try await scene.onChannel { channel in
                let last = scene.blockCount - 1
                let middle = scene.straddledBlock
                try await scene.write(channel, at: 0, 1, version: 1)
                try await scene.write(channel, at: last, 1, version: 2)
                try await scene.write(channel, at: middle - 1, 4, version: 3)
                try await scene.write(channel, at: middle, 2, version: 4)
                try await scene.verify(channel, at: 0, 1, version: 1, "the first block")
                try await scene.verify(channel, at: last, 1, version: 2, "the last block")
                try await scene.verify(channel, at: middle - 1, 1, version: 3, "the block before a straddling write")
                try await scene.verify(channel, at: middle, 2, version: 4, "a straddling write")
                try await scene.verify(channel, at: middle + 2, 1, version: 3, "the block behind a straddling write")
            }
        },
        Check(name: "1, 8 and more than 128 KiB in one I/O come back as they went") { scene in
            try await scene.onChannel { channel in
                let sizes = [1, 8, scene.blocks(128 << 10) + 1, scene.blocks(1 << 20)]
                for (number, count) in sizes.enumerated() {
                    let starts: [UInt64] = [3, scene.blockCount - UInt64(count)]
                    for start in starts {
                        let version = UInt64(10 + number)
                        try await scene.write(channel, at: start, count, version: version)
                        try await scene.verify(
                            channel, at: start, count, version: version, "\(count) blocks at block \(start)")
                    }
                }
            }
        },
        Check(name: "1, 2 and 33 segments are read and written in order") { scene in
            try await scene.onChannel { channel in
                for count in [1, 2, 33] {
                    try await scene.checkSegments(
                        channel, Segments.even(count, scene.blockByteCount), "\(count) segments of a block")
                }
            }
        },
        Check(name: "segments that begin anywhere and end within blocks are read and written in order") { scene in
            try await scene.onChannel { channel in
                for count in [1, 2, 33] {
                    for shift in [1, 512] {
                        let odd = Segments.odd(
                            count, scene.blockByteCount, shift: shift, seed: scene.suite.options.seed)
                        try await scene.checkSegments(
                            channel, odd, "\(count) odd segments from byte \(shift) of their buffers")
                    }
                }
            }
        },
        Check(name: "the later of two overlapping writes wins") { scene in
            try await scene.onChannel { channel in
                let start = scene.blockCount / 2
                try await scene.write(channel, at: start, 8, version: 20)
                try await scene.write(channel, at: start + 4, 8, version: 21)
                try await scene.write(channel, at: start + 2, 1, version: 22)
                try await scene.verify(channel, at: start, 2, version: 20, "what the first write alone covers")
                try await scene.verify(channel, at: start + 2, 1, version: 22, "what the third write covers")
                try await scene.verify(channel, at: start + 3, 1, version: 20, "what the first write alone covers")
                try await scene.verify(channel, at: start + 4, 8, version: 21, "what the second write covers")
            }
        },
        Check(name: "offsets in bytes and in blocks mean the same") { scene in
            try await scene.onChannel { channel in
                let size = scene.blockByteCount
                var buffer = await channel.buffer(byteCount: 2 * size)
                scene.pattern.fill(&buffer, from: 5, version: 30)
                try await channel.write(from: buffer, at: .byte(UInt64(5 * size)))
                try await scene.verify(channel, at: 5, 2, version: 30, "a write at a byte offset")
                buffer.fill(with: 0xEE)
                try await channel.read(at: .byte(UInt64(5 * size)), into: &buffer)
                try await scene.compare(channel, buffer, at: 5, version: 30, "a read at a byte offset")
            }
        },
        Check(name: "a second descriptor sees what the first wrote") { scene in
            let second = try await scene.suite.open(mode: .readOnly)
            do {
                try await scene.onChannel { channel in try await scene.write(channel, at: 9, 3, version: 40) }
                try await second.withChannel(on: scene.suite.reactors.last!) { channel in
                    try await scene.verify(channel, at: 9, 3, version: 40, "the other descriptor's blocks")
                }
                await second.close()
            } catch {
                await second.close()
                throw error
            }
        },
    ]
}

/// How one I/O's memory is cut.
struct Segments: Sendable {
    /// Where in its buffer each begins, and how long it is, in bytes.
    let pieces: [(offset: Int, length: Int)]
    var byteCount: Int { pieces.reduce(0) { $0 + $1.length } }

    static func even(_ count: Int, _ length: Int) -> Segments {
        Segments(pieces: Array(repeating: (0, length), count: count))
    }

    /// `count` blocks cut at random into as many pieces.
    static func odd(_ count: Int, _ blockByteCount: Int, shift: Int, seed: UInt64) -> Segments {
        var generator = SeededGenerator(seed: seed &+ UInt64(count))
        var pieces: [(Int, Int)] = [], left = count * blockByteCount
        for index in 0..<count {
            let behind = count - index - 1
            let length =
                behind == 0 ? left : Int.random(in: 1...min(left - behind, 2 * blockByteCount), using: &generator)
            pieces.append((shift, length))
            left -= length
        }
        return Segments(pieces: pieces)
    }
}

extension Scene {
    /// The first block behind a boundary that I/O is split at, or one in the middle.
    var straddledBlock: UInt64 {
        let boundary = descriptor.geometry.optimalBoundaryBlockCount
        return boundary > 1 && boundary < blockCount / 2 ? boundary - 1 : blockCount / 2
    }

    /// Writes with segments and reads plainly, and the reverse.
    nonisolated(nonsending) func checkSegments(_ channel: BdevChannel, _ segments: Segments, _ what: String)
        async throws
    {
        let (start, count) = (UInt64(17), segments.byteCount / blockByteCount)
        var flat = await channel.buffer(byteCount: segments.byteCount)
        pattern.fill(&flat, from: start, version: 50)
        var list = await makeList(channel, segments)
        scatter(flat, into: &list, segments)
        try await channel.write(from: list, at: .block(start))
        try await verify(channel, at: start, count, version: 50, "written in \(what)")

        try await write(channel, at: start, count, version: 51)
        try await channel.read(at: .block(start), into: &list)
        gather(&list, into: &flat, segments)
        try await compare(channel, flat, at: start, version: 51, "read in \(what)")
    }

    private nonisolated(nonsending) func makeList(_ channel: BdevChannel, _ segments: Segments) async -> IOBufferList {
        var list = IOBufferList(capacity: segments.pieces.count)
        for (offset, length) in segments.pieces {
            let buffer = await channel.buffer(byteCount: offset + length)
            list.append(buffer, from: offset, length: length)
        }
        return list
    }

    private func scatter(_ flat: borrowing IOBuffer, into list: inout IOBufferList, _ segments: Segments) {
        let source = flat.memory
        var place = 0
        for (index, piece) in segments.pieces.enumerated() {
            let part = source.slice(from: place, count: piece.length)
            list.withBuffer(index) { $0.memory.slice(from: piece.offset, count: piece.length).copy(from: part) }
            place += piece.length
        }
    }

    private func gather(_ list: inout IOBufferList, into flat: inout IOBuffer, _ segments: Segments) {
        flat.fill(with: 0xEE)
        let target = flat.memory
        var place = 0
        for (index, piece) in segments.pieces.enumerated() {
            let part = target.slice(from: place, count: piece.length)
            list.withBuffer(index) { part.copy(from: $0.memory.slice(from: piece.offset, count: piece.length)) }
            place += piece.length
        }
    }
}
