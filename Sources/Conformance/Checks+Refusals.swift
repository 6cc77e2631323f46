import Bdev
import Reactors

extension Check {
    static let refusals = [
        Check(name: "I/O beyond the end is refused, also where 64 bits overflow") { scene in
            try await scene.onChannel { channel in
                let (end, size) = (scene.blockCount, scene.blockByteCount)
                var buffer = await channel.buffer(byteCount: 2 * size)
                let highest = UInt64.max / UInt64(size) * UInt64(size)
                let places: [BdevOffset] = [
                    .block(end - 1), .block(end), .block(end + 1), .block(.max - 1), .block(.max),
                    .byte(end * UInt64(size)), .byte(highest),
                ]
                for place in places {
                    try await scene.expect(.outOfRange, from: "a read of 2 blocks at \(place)") {
                        try await channel.read(at: place, into: &buffer)
                    }
                    try await scene.expect(.outOfRange, from: "a write of 2 blocks at \(place)") {
                        try await channel.write(from: buffer, at: place)
                    }
                }
                try await scene.expect(.outOfRange, from: "write zeroes of all 2^64 blocks") {
                    try await channel.writeZeroes(at: .block(1), count: .blocks(.max))
                }
                guard scene.descriptor.supports(.unmap) else { return }
                try await scene.expect(.outOfRange, from: "an unmap of one block too many") {
                    try await channel.unmap(at: .block(0), count: .blocks(end + 1))
                }
            }
        },
        Check(name: "no blocks: ranges succeed and do nothing, transfers are refused") { scene in
            try await scene.onChannel { channel in
                try await scene.write(channel, at: 7, 1, version: 60)
                try await channel.writeZeroes(at: .block(7), count: .blocks(0))
                try await channel.writeZeroes(at: .block(scene.blockCount), count: .bytes(0))
                if scene.descriptor.supports(.unmap) { try await channel.unmap(at: .block(7), count: .blocks(0)) }
                try await scene.verify(channel, at: 7, 1, version: 60, "a block at which nothing was zeroed")
                var nothing = IOBufferList(capacity: 1)
                try await scene.expect(.misaligned, from: "a read of no bytes") {
                    try await channel.read(at: .block(7), into: &nothing)
                }
                try await scene.expect(.misaligned, from: "a write of no bytes") {
                    try await channel.write(from: nothing, at: .block(7))
                }
            }
        },
        Check(name: "bytes that are no whole blocks are refused") { scene in
            try await scene.onChannel { channel in
                let size = scene.blockByteCount
                var whole = await channel.buffer(byteCount: size)
                var tooMuch = await channel.buffer(byteCount: size + 1)
                var tooLittle = await channel.buffer(byteCount: size - 1)
                try await scene.expect(.misaligned, from: "a read of a block and a byte") {
                    try await channel.read(at: .block(0), into: &tooMuch)
                }
                try await scene.expect(.misaligned, from: "a read of less than a block") {
                    try await channel.read(at: .block(0), into: &tooLittle)
                }
                try await scene.expect(.misaligned, from: "a write of a block and a byte") {
                    try await channel.write(from: tooMuch, at: .block(0))
                }
                for offset in [1, size - 1, size / 2, size + 1] {
                    try await scene.expect(.misaligned, from: "a read at byte \(offset)") {
                        try await channel.read(at: .byte(UInt64(offset)), into: &whole)
                    }
                    try await scene.expect(.misaligned, from: "write zeroes at byte \(offset)") {
                        try await channel.writeZeroes(at: .byte(UInt64(offset)), count: .blocks(1))
                    }
                }
                try await scene.expect(.misaligned, from: "write zeroes of half a block") {
                    try await channel.writeZeroes(at: .block(0), count: .bytes(UInt64(size / 2)))
                }
            }
        },
        Check(name: "a read-only descriptor changes nothing") { scene in
            try await scene.onChannel { channel in try await scene.write(channel, at: 0, 1, version: 61) }
            let reader = try await scene.suite.open(mode: .readOnly)
            do {
                try await reader.withChannel(on: scene.reactor) { channel in try await scene.checkReadOnly(channel) }
                await reader.close()
            } catch {
                await reader.close()
                throw error
            }
        },
        Check(name: "what the bdev does not support is refused") { scene in
            try await scene.onChannel { channel in
                if !scene.descriptor.supports(.unmap) {
                    try await scene.expect(.notSupported, from: "an unmap") {
                        try await channel.unmap(at: .block(0), count: .blocks(1))
                    }
                }
                if !scene.descriptor.supports(.flush) {
                    try await scene.expect(.notSupported, from: "a flush") { try await channel.flush() }
                }
                if !scene.descriptor.supports(.reset) {
                    try await scene.expect(.notSupported, from: "a reset") { try await channel.reset() }
                }
            }
        },
        Check(name: "a closed channel refuses, and closing it twice is harmless") { scene in
            let channel = try await scene.descriptor.channel(on: scene.reactor)
            await channel.close()
            await channel.close()
            var buffer = await channel.buffer(byteCount: scene.blockByteCount)
            try await scene.expect(.closed, from: "a read on a closed channel") {
                try await channel.read(at: .block(0), into: &buffer)
            }
        },
    ]
}

extension Scene {
    nonisolated(nonsending) func checkReadOnly(_ channel: BdevChannel) async throws {
        var buffer = await channel.buffer(byteCount: blockByteCount)
        try await expect(.readOnly, from: "a write") { try await channel.write(from: buffer, at: .block(0)) }
        try await expect(.readOnly, from: "write zeroes") {
            try await channel.writeZeroes(at: .block(0), count: .blocks(1))
        }
        if descriptor.supports(.unmap) {
            try await expect(.readOnly, from: "an unmap") { try await channel.unmap(at: .block(0), count: .blocks(1)) }
        }
        if descriptor.supports(.flush) { try await expect(.readOnly, from: "a flush") { try await channel.flush() } }
        if descriptor.supports(.reset) { try await channel.reset() }
        try await channel.read(at: .block(0), into: &buffer)
        try await compare(channel, buffer, at: 0, version: 61, "read through a read-only descriptor")
    }
}
