import Bdev
import NullBdev
import Reactors

struct Random { var state: UInt64
  mutating func next(_ bound: UInt64) -> UInt64 { state ^= state << 13; state ^= state >> 7; state ^= state << 17; return state.multipliedFullWidth(by: bound).high } }

final class EngineWorker: IOHandler {
  let channel: EngineChannel; var left: Int; var random = Random(state: 88172645463325252); let range: UInt64; var done: (() -> Void)?; var inFlight = 0
  init(_ c: EngineChannel, count: Int) { channel = c; left = count; range = c.blockCount / 8 }
  func submit(_ b: consuming IOBuffer) {
    var buffer: IOBuffer? = b
    do { try channel.read(into: &buffer, at: .block(random.next(range) * 8), handler: self) } catch { print(error) }
    left -= 1
    inFlight += 1
  }
  override func ioCompleted(_ completion: consuming IOCompletion) {
    inFlight -= 1
    if left > 0, let b = completion.buffer.take() { submit(b) } else if inFlight == 0 { done?() }
  }
}

let api = CommandLine.arguments[1], depth = Int(CommandLine.arguments[2])!, count = Int(CommandLine.arguments[3])!
let parked = api == "parked"
let group = try ReactorGroup(cores: [0])
let engine = BdevEngine(group: group)
let null = NullModule()
try await engine.register(null)
var o = NullModule.Options(name: "Null0", blockCount: 2097152)
o.completesFromPoller = parked
try await null.create(o)
let d = try await engine.open("Null0", mode: .readWrite)
let reactor = group.reactors[0]

actor Flag { }
func threadCPU() -> Double { var t = timespec(); unsafe clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t); return Double(t.tv_sec) + Double(t.tv_nsec)*1e-9 }
import Glibc
switch api {
case "engine":
  try await d.withChannel(on: reactor) { channel in
    let w = EngineWorker(channel.engine, count: count)
    let local = reactor
    let t = threadCPU()
    for _ in 0..<depth { w.submit(channel.makeBuffer(4096)) }
    await withCheckedContinuation { (c: CheckedContinuation<Void, Never>) in w.done = { c.resume() } }
    let s = threadCPU() - t
    print("engine", Double(count) / s / 1e6, "M/s"); _ = local
  }
case "async", "parked":
  try await d.withChannel(on: reactor) { channel in
    let t = threadCPU()
    var tasks: [Task<Void, Never>] = []
    for i in 0..<depth {
      tasks.append(Task { await worker(channel, i, count / depth) })
    }
    for t in tasks { await t.value }
    let s = threadCPU() - t
    print(api, Double(count) / s / 1e6, "M/s")
  }
case "batch":
  try await d.withChannel(on: reactor) { channel in
    let t = threadCPU()
    await channel.batcher(depth, count)
    let s = threadCPU() - t
    print(api, Double(count) / s / 1e6, "M/s")
  }
default: break
}
await d.close()
await engine.stop()
group.shutDown()

extension BdevChannel {
  func makeBuffer(_ n: Int) -> IOBuffer { try! allocateBuffer(byteCount: n) }
  func xworker(_ i: Int, _ n: Int) async {
    var r = Random(state: 88172645463325252 + UInt64(i)); let range = engine.blockCount / 8
    var b = makeBuffer(4096)
    for _ in 0..<n { do { try await read(at: .block(r.next(range) * 8), into: &b) } catch { print(error, error.status as Any); return } }
  }
  func batcher(_ depth: Int, _ n: Int) async {
    var r = Random(state: 88172645463325252); let range = engine.blockCount / 8
    var batch = IOBatch(capacity: depth)
    for _ in 0..<depth { batch.read(into: makeBuffer(4096), at: .block(0)) }
    for _ in 0..<(n / depth) {
      for k in 0..<depth { batch.setOffset(k, .block(r.next(range) * 8)) }
      do { try await perform(&batch) } catch { print(error) }
    }
  }
}

nonisolated(nonsending) func worker(_ c: BdevChannel, _ i: Int, _ n: Int) async {
    var r = Random(state: 88172645463325252 + UInt64(i)); let range: UInt64 = 262144
    var b = await c.makeBuffer(4096)
    for _ in 0..<n { do { try await c.read(at: .block(r.next(range) * 8), into: &b) } catch { print(error); return } }
}
