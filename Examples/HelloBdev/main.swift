import Bdev
import MallocBdev
import Reactors

let group = try ReactorGroup()
let engine = BdevEngine(group: group)
let malloc = MallocModule()
try await engine.register(malloc)
let name = try await malloc.create(.init(blockCount: 32_768))
let volume = try await engine.open(name, mode: .readWrite)
let isSame = try await volume.withChannel(on: group.reactors[0]) { channel in
    var written = try channel.allocateBuffer(byteCount: 4096)
    var read = try channel.allocateBuffer(byteCount: 4096)
    written.store("Hello, bdev!")
    try await channel.write(from: written, at: .block(8))
    try await channel.read(at: .block(8), into: &read)
    return read.contentEquals(written)
}
print(isSame ? "read back what was written" : "read back something else")
await volume.close()
await engine.stop()
