import Bdev
import Reactors
let group = try ReactorGroup()
let start = ContinuousClock.now
try await group.reactors[0].run { local in for _ in 0..<10 { try await local.sleep(for: .milliseconds(100)) } }
print("slept", ContinuousClock.now - start)
group.shutDown()
