import Bdev
import Glibc
import Reactors
import SystemPackage
import TestSupport
import Testing
import UringBdev

struct UringTests {
    private static let size: UInt64 = 1 << 20

    private func options(_ file: ScratchPath, _ byteCount: UInt64? = size) -> UringModule.Options {
        var options = UringModule.Options(name: "U", path: file.path)
        options.byteCount = byteCount
        return options
    }

    // MARK: Making one

    @Test func `a missing file is refused unless a size says to make it`() async throws {
        try await Bench.run { bench in
            let file = ScratchPath()
            let text = await expect(.invalidArgument) { try await bench.uring.create(options(file, nil)) }
            #expect(text.contains(file.path) && text.contains("give a size"))
            #expect(await bench.engine.list().isEmpty)
            try await bench.uring.create(options(file))
            let info = try await bench.engine.info("U")
            #expect(info.geometry.byteCount == Self.size)
            #expect(info.supportedTypes.contains(.unmap))
        }
    }

    @Test func `impossible block sizes are refused`() async throws {
        try await Bench.run { bench in
            let file = ScratchPath()
            for size in [0, 256, 513, 3 * 512, -512] {
                var options = options(file)
                options.blockByteCount = size
                let text = await expect(.invalidGeometry) { [options] in try await bench.uring.create(options) }
                #expect(text.contains("power of two"))
            }
            var options = options(file)
            options.blockByteCount = 8192
            try await bench.uring.create(options)
            #expect(try await bench.engine.info("U").geometry.blockByteCount == 8192)
        }
    }

    @Test func `a directory, an empty file and less than one block are refused`() async throws {
        try await Bench.run { bench in
            await expect(.invalidArgument) {
                try await bench.uring.create(UringModule.Options(name: "U", path: "/dev/shm"))
            }
            let file = ScratchPath()
            try file.resize(to: 0)
            await expect(.invalidArgument) { try await bench.uring.create(options(file, nil)) }
            try file.resize(to: 511)
            await expect(.invalidGeometry) { try await bench.uring.create(options(file, nil)) }
        }
    }

    @Test func `a tail that is no whole block stays out of reach, and a notice says so`() async throws {
        try await Bench.run { bench in
            let file = ScratchPath()
            try file.resize(to: 10 * 512 + 100)
            try await bench.uring.create(options(file, nil))
            #expect(try await bench.engine.info("U").geometry.blockCount == 10)
            #expect(bench.notices.all.contains { $0.contains("last 100 bytes") })
        }
    }

    @Test func `a refused name leaves the file unlocked`() async throws {
        try await Bench.run { bench in
            let (first, second) = (ScratchPath(), ScratchPath())
            try await bench.uring.create(options(first))
            await expect(.nameInUse) { try await bench.uring.create(options(second)) }
            var other = options(second)
            other.name = "V"
            try await bench.uring.create(other)
            await expect(.busy) { [other] in
                var again = other
                again.name = "W"
                try await bench.uring.create(again)
            }
            try await bench.uring.delete("V")
            try await bench.uring.create(other)
        }
    }

    @Test func `a file that another process has locked is refused, and the process is named`() async throws {
        try await Bench.run { bench in
            let file = ScratchPath()
            try file.resize(to: 1 << 20)
            let (_, output) = shell(
                "flock --exclusive --no-fork \(file.path) sleep 20 > /dev/null 2>&1 & echo $!; sleep 0.2")
            let process = try #require(Int32(output))
            defer { kill(process, SIGTERM) }
            let text = await expect(.busy) { try await bench.uring.create(options(file, nil)) }
            #expect(text.contains("process \(process)"), "\(text)")
        }
    }

    // MARK: Reading only

    @Test func `a file opened read-only can be read and nothing else`() async throws {
        try await Bench.run { bench in
            let file = ScratchPath()
            try file.resize(to: 1 << 20)
            _ = shell("chmod 400 \(file.path)")
            var options = options(file, nil)
            options.isReadOnly = true
            try await bench.uring.create(options)
            try await bench.withChannel("U") { channel in
                var buffer = try channel.allocateBuffer(byteCount: 4096)
                try await channel.read(at: .block(0), into: &buffer)
                await expect(.notSupported) { try await channel.writeZeroes(at: .block(0), count: .blocks(1)) }
                await expect(.notSupported) { try await channel.unmap(at: .block(0), count: .blocks(1)) }
                await expect(.notSupported) { try await channel.flush() }
            }
            await expect(.invalidArgument) { [options] in
                var wrong = options
                wrong.name = "V"
                wrong.byteCount = 1 << 20
                try await bench.uring.create(wrong)
            }
        }
    }

    // MARK: Size

    @Test(arguments: [UringModule.TransferMode.automatic, .ring])
    func `a file truncated under the bdev gives errors, never old data`(mode: UringModule.TransferMode) async throws {
        try await Bench.run { bench in
            let file = ScratchPath()
            var options = options(file)
            options.transferMode = mode
            try await bench.uring.create(options)
            try await bench.withChannel("U") { channel in
                var buffer = try channel.allocateBuffer(byteCount: 8192)
                buffer.fill(with: 7)
                try await channel.write(from: buffer, at: .byte(512 << 10))
                // In the middle of the 8 KiB, on a block and off one.
                for end in [(512 << 10) + 4096, (512 << 10) + 100, 0] {
                    try file.resize(to: Int64(end))
                    await expect(.mediaError) { try await channel.read(at: .byte(512 << 10), into: &buffer) }
                }
                buffer.fill(with: 9)
                try await channel.write(from: buffer, at: .byte(512 << 10))
                try await channel.read(at: .byte(512 << 10), into: &buffer)
            }
        }
    }

    @Test func `a rescan finds a file that has grown, and refuses to shrink one in use`() async throws {
        try await Bench.run { bench in
            let file = ScratchPath()
            try await bench.uring.create(options(file))
            let descriptor = try await bench.open("U")
            var events = descriptor.events.makeAsyncIterator()
            try file.resize(to: Int64(2 * Self.size))
            #expect(try await bench.uring.rescan("U") == 2 * Self.size / 512)
            #expect(await events.next() == .resized(blockCount: 2 * Self.size / 512))
            try await descriptor.withChannel(on: bench.engine.reactors[0]) { channel in
                var buffer = try channel.allocateBuffer(byteCount: 512)
                try await channel.read(at: .block(2 * Self.size / 512 - 1), into: &buffer)
            }
            try file.resize(to: Int64(Self.size))
            await expect(.busy) { try await bench.uring.rescan("U") }
            await descriptor.close()
            #expect(try await bench.uring.rescan("U") == Self.size / 512)
            await expect(.noSuchBdev) { try await bench.uring.rescan("V") }
        }
    }

    // MARK: Reset

    @Test(arguments: [UringModule.TransferMode.automatic, .ring])
    func `resets from two reactors at once end, and what comes meanwhile is aborted`(mode: UringModule.TransferMode)
        async throws
    {
        try await Bench.run { bench in
            let file = ScratchPath()
            var options = options(file)
            options.transferMode = mode
            try await bench.uring.create(options)
            let descriptor = try await bench.open("U")
            try await withThrowingTaskGroup(of: Void.self) { group in
                for reactor in bench.engine.reactors {
                    group.addTask {
                        try await descriptor.withChannel(on: reactor) { channel in
                            let readers = (0..<8).map { index in
                                Task {
                                    var buffer = await channel.buffer(byteCount: 4096)
                                    for _ in 0..<200 {
                                        do {
                                            try await channel.read(at: .byte(UInt64(index) * 4096), into: &buffer)
                                        } catch let error as BdevError where error.code == .aborted {}
                                    }
                                }
                            }
                            for _ in 0..<20 { try await channel.reset() }
                            for reader in readers { try await reader.value }
                        }
                    }
                }
                try await group.waitForAll()
            }
            await descriptor.close()
            let statistics = try await bench.engine.statistics("U")
            #expect(statistics.read.operationCount + statistics.errors[.aborted, default: 0] == 3200)
            // Those that come during another share its fate.
            #expect((1...40).contains(statistics.other.operationCount))
        }
    }

    // MARK: More than the ring holds

    @Test(arguments: [false, true])
    func `more I/O than the ring has room for waits its turn`(isForbidden: Bool) async throws {
        var reactors = ReactorOptions()
        reactors.ring.entries = 8
        reactors.ring.completionEntries = 16
        reactors.ring.isForbidden = isForbidden
        try await Bench.run(options: reactors) { bench in
            let file = ScratchPath()
            var options = options(file)
            options.transferMode = .ring
            try await bench.uring.create(options)
            try await bench.withChannel("U") { channel in
                var batch = IOBatch(capacity: 256)
                for index in 0..<256 {
                    let buffer = await channel.buffer(byteCount: 4096)
                    batch.write(from: buffer, at: .byte(UInt64(index % 200) * 4096))
                }
                for _ in 0..<5 { try await channel.perform(&batch) }
                #expect((0..<256).allSatisfy { batch.status($0).isSuccess })
            }
        }
    }
}

@Suite(
    "Devices and full file systems",
    .enabled(if: isRoot, "only root can set up loop devices and mounts: not tested here"), .serialized)
struct UringDeviceTests {
    @Test func `a full file system gives noSpace, and reading goes on`() async throws {
        try await Bench.run { bench in
            let system = try SmallFileSystem(byteCount: 1 << 20)
            for mode in [UringModule.TransferMode.automatic, .ring] {
                var options = UringModule.Options(name: "U", path: "\(system.path)/file")
                // Sparse: it takes room as it is written.
                options.byteCount = 4 << 20
                options.transferMode = mode
                try await bench.uring.create(options)
                try await bench.withChannel("U") { channel in
                    var buffer = try channel.allocateBuffer(byteCount: 64 << 10)
                    buffer.fill(with: 5)
                    var failure: BdevError?
                    for place in 0..<64 where failure == nil {
                        do throws(BdevError) {
                            try await channel.write(from: buffer, at: .byte(UInt64(place) << 16))
                        } catch {
                            failure = error
                        }
                    }
                    #expect(failure?.code == .noSpace)
                    #expect(failure?.cause == .noSpace)
                    try await channel.read(at: .byte(0), into: &buffer)
                    try await channel.unmap(at: .byte(0), count: .bytes(4 << 20))
                    try await channel.write(from: buffer, at: .byte(0))
                }
                try await bench.uring.delete("U")
                _ = shell("rm \(system.path)/file")
            }
        }
    }

    @Test func `a device that carries a signature is not opened for writing unless told to`() async throws {
        try await Bench.run { bench in
            let device = try LoopDevice(byteCount: 4 << 20)
            try #require(shell("mkswap \(device.path)").status == 0)
            var options = UringModule.Options(name: "U", path: device.path)
            let text = await expect(.unsafeTarget) { [options] in try await bench.uring.create(options) }
            #expect(text.contains("swap"), "\(text)")
            options.isReadOnly = true
            try await bench.uring.create(options)
            try await bench.uring.delete("U")
            options.isReadOnly = false
            options.ignoresSignatures = true
            try await bench.uring.create(options)
            try await bench.uring.delete("U")
        }
    }

    @Test func `a mounted device is not opened for writing`() async throws {
        try await Bench.run { bench in
            let device = try LoopDevice(byteCount: 16 << 20)
            let place = ScratchPath(in: "/tmp").path
            try #require(
                shell("mkfs.ext4 -q \(device.path) && mkdir \(place) && mount \(device.path) \(place)").status == 0)
            defer { _ = shell("umount \(place); rmdir \(place)") }
            var options = UringModule.Options(name: "U", path: device.path)
            options.ignoresSignatures = true
            let text = await expect(.unsafeTarget) { [options] in try await bench.uring.create(options) }
            #expect(text.contains(place), "\(text)")
        }
    }

    @Test func `a device's size and block size are found, and smaller blocks refused`() async throws {
        try await Bench.run { bench in
            let file = ScratchPath()
            try file.resize(to: 4 << 20)
            let (status, path) = shell("losetup --find --show --sector-size 4096 \(file.path)")
            try #require(status == 0, "losetup failed: \(path)")
            defer { _ = shell("losetup --detach \(path)") }
            var options = UringModule.Options(name: "U", path: path)
            options.blockByteCount = 512
            let text = await expect(.invalidGeometry) { [options] in try await bench.uring.create(options) }
            #expect(text.contains("use 4096"))
            options.blockByteCount = nil
            try await bench.uring.create(options)
            let geometry = try await bench.engine.info("U").geometry
            #expect(geometry.blockByteCount == 4096 && geometry.blockCount == 1024)
            try await bench.uring.delete("U")
        }
    }

    @Test func `a rescan finds a device that has grown`() async throws {
        try await Bench.run { bench in
            let file = ScratchPath()
            try file.resize(to: 4 << 20)
            let (status, path) = shell("losetup --find --show \(file.path)")
            try #require(status == 0, "losetup failed: \(path)")
            defer { _ = shell("losetup --detach \(path)") }
            try await bench.uring.create(UringModule.Options(name: "U", path: path))
            try file.resize(to: 8 << 20)
            try #require(shell("losetup --set-capacity \(path)").status == 0)
            #expect(try await bench.uring.rescan("U") == (8 << 20) / 512)
            try await bench.uring.delete("U")
        }
    }
}
