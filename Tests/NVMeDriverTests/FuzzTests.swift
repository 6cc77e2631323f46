import Foundation
import NVMeFuzzing
import SimulatedReactors
import Testing

/// A controller is not trusted: see `Scripts/fuzz`, which looks for what these tests keep.
@Suite("A controller that answers what it must not")
struct FuzzTests {
    private static let corpus = URL(filePath: #filePath).deletingLastPathComponent()
        .appending(path: "../NVMeFuzzing/Corpus").standardizedFileURL

    @Test func `has been met before, and the driver keeps its promises`() throws {
        let files = try FileManager.default.contentsOfDirectory(at: Self.corpus, includingPropertiesForKeys: nil)
        #expect(files.count >= 20)
        for file in files {
            do {
                try ControllerFuzzing.run(Array(Data(contentsOf: file)))
            } catch {
                Issue.record("\(file.lastPathComponent): \(error)")
            }
        }
    }

    @Test(arguments: UInt64(0)..<20)
    func `is met for the first time, and the driver keeps its promises`(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        // Much is as it should be, so that what comes later is reached.
        let script = (0..<Int.random(in: 1...300, using: &random)).map { _ in
            Int.random(in: 0..<20, using: &random) == 0 ? UInt8.random(in: 0...255, using: &random) : 0
        }
        do {
            try ControllerFuzzing.run(script, isZoned: seed % 2 == 1, isProtected: seed % 4 > 1)
        } catch {
            Issue.record("seed \(seed), script \(script): \(error)")
        }
    }
}
