import Bdev
import Glibc
import MallocBdev
import Reactors

// Usage: numa-pinning [CORES | DEVICE], where CORES is 0x3, 0,2-3, numa:0, cores or all, and DEVICE a PCI address or
// the path of a block device or file: it stands for the cores of its node.

let topology = try Topology()
for node in topology.nodes {
    let far = node.distances.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value)" }.joined(separator: ", ")
    print("node \(node.number): cores \(node.cores), \(node.memoryByteCount >> 20) MiB, distances \(far)")
}
for core in topology.cores {
    let place = core.socket.map { "socket \($0)" } ?? "unknown socket"
    print(
        "core \(core.number): \(core.isOnline ? "online" : "offline"), node \(core.node), "
            + "\(place), siblings \(core.siblings)"
    )
}

// Reactors on the cores of one node: their queues, their buffers and their RAM disks are that node's.
let text = CommandLine.arguments.count > 1 ? CommandLine.arguments[1] : "numa:\(topology.nodes[0].number)"
do {
    var cores: CoreList?
    if text.contains("/") || text.contains(":") && text.contains(".") {
        let node = text.contains("/") ? try topology.node(ofFileAt: text) : topology.node(ofPCIDevice: text)
        print("\(text): \(node.map { "node \($0)" } ?? "no node is nearer than another")")
        cores = .node(node ?? topology.nodes[0].number)
    }
    let group = try ReactorGroup(cores: cores ?? CoreList(parsing: text))
    let engine = BdevEngine(group: group)
    let malloc = MallocModule()
    try await engine.register(malloc)
    for reactor in group.reactors {
        var options = MallocModule.Options(blockCount: 32_768)
        options.node = reactor.node
        let name = try await malloc.create(options)
        let disk = try await engine.open(name, mode: .readWrite)
        let node = try await disk.withChannel(on: reactor) { channel in
            var buffer = try channel.allocateBuffer(byteCount: 1 << 20)
            buffer.fill(with: 1)
            try await channel.write(from: buffer, at: .block(0))
            return buffer.node
        }
        print(
            "\(reactor.name): core \(reactor.core), node \(reactor.node), "
                + "its buffers on node \(node.map(String.init) ?? "unknown")"
        )
        await disk.close()
    }
    await engine.stop()
} catch {
    print("numa-pinning: \(error)")
    exit(2)
}
