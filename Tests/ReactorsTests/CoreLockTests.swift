import CLinux
import Foundation
import SystemPackage
import Testing

@testable import Reactors

@Suite struct CoreLockTests {
    let directory = try! RecordedTree()

    private func refusal(_ core: Int) throws -> ReactorError {
        try #require(throws: ReactorError.self) { _ = try CoreLock(core: core, directory: directory.root) }
    }

    private func isSleep(_ process: Int32) -> Bool {
        (try? String(contentsOfFile: "/proc/\(process)/comm", encoding: .utf8)) == "sleep\n"
    }

    @Test func `a lock is a file of its owner's alone that holds the process's number`() throws {
        let lock = try CoreLock(core: 7, directory: directory.root)
        let path = "\(directory.root)/swift_bdev_cpu_lock_007"
        #expect(try String(contentsOfFile: path, encoding: .utf8) == "\(getpid())\n")
        let mode = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
        #expect(mode == 0o600)
        withExtendedLifetime(lock) {}
    }

    @Test func `a second lock in the same process is refused with its number`() throws {
        let lock = try CoreLock(core: 3, directory: directory.root)
        let error = try refusal(3)
        #expect(error.code == .coreInUse)
        #expect(
            error.description.hasPrefix(
                "core 3 has a reactor of another reactor group of this process (pid \(getpid()));"))
        _ = try CoreLock(core: 4, directory: directory.root)
        withExtendedLifetime(lock) {}
    }

    @Test func `a lock that was let go can be taken again`() throws {
        for _ in 0..<100 { _ = try CoreLock(core: 1, directory: directory.root) }
        #expect(try FileManager.default.contentsOfDirectory(atPath: directory.root) == [])
    }

    @Test func `another process is named, and its crash releases the lock`() throws {
        let path = "\(directory.root)/swift_bdev_cpu_lock_012"
        let holder = Process()
        holder.executableURL = URL(fileURLWithPath: "/usr/bin/flock")
        holder.arguments = ["--no-fork", path, "sleep", "60"]
        try holder.run()
        // flock(1) makes the file, then locks it, then becomes sleep.
        let deadline = Date() + 20
        while !isSleep(holder.processIdentifier) && Date() < deadline { usleep(1000) }
        try "\(holder.processIdentifier)\n".write(toFile: path, atomically: false, encoding: .utf8)
        let error = try refusal(12)
        #expect(error.description.hasPrefix("core 12 has a reactor of process \(holder.processIdentifier);"))
        kill(holder.processIdentifier, SIGKILL)
        holder.waitUntilExit()
        _ = try CoreLock(core: 12, directory: directory.root)
    }

    @Test func `a file left behind by a crash is no obstacle`() throws {
        try directory.write("4194303\nleft over", to: "swift_bdev_cpu_lock_002")
        let lock = try CoreLock(core: 2, directory: directory.root)
        #expect(
            try String(contentsOfFile: "\(directory.root)/swift_bdev_cpu_lock_002", encoding: .utf8) == "\(getpid())\n")
        withExtendedLifetime(lock) {}
    }

    @Test func `a link in the place of a lock is not followed`() throws {
        try directory.write("precious", to: "elsewhere")
        try directory.link("swift_bdev_cpu_lock_005", to: "elsewhere")
        let error = try refusal(5)
        #expect(error.code == .resourceExhausted && error.cause == .tooManySymbolicLinkLevels)
        #expect(try String(contentsOfFile: "\(directory.root)/elsewhere", encoding: .utf8) == "precious")
    }

    @Test func `a directory that is not there is named`() throws {
        let error = try #require(throws: ReactorError.self) {
            _ = try CoreLock(core: 0, directory: "/no/such/directory")
        }
        #expect(error.description.contains("/no/such/directory/swift_bdev_cpu_lock_000"))
        #expect(error.cause == .noSuchFileOrDirectory)
    }

    @Test func `many threads that want one core get it one at a time`() async throws {
        let root = directory.root
        let won = await withTaskGroup(of: Int.self) { group in
            for _ in 0..<8 {
                group.addTask {
                    var won = 0
                    for _ in 0..<500 {
                        guard let lock = try? CoreLock(core: 9, directory: root) else { continue }
                        // Exclusive: nobody else may hold it now, whatever happened to the file's name in between.
                        #expect(throws: ReactorError.self) { _ = try CoreLock(core: 9, directory: root) }
                        won += 1
                        withExtendedLifetime(lock) {}
                    }
                    return won
                }
            }
            return await group.reduce(0, +)
        }
        #expect(won > 0)
    }
}
