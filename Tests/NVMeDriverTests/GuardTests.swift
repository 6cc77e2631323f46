import CLinux
import Foundation
import Testing

@Suite("The guard of a mapped region", .serialized)
struct GuardTests {
    @Test func `reads ones where the device is gone, and says so`() throws {
        let region = try CutRegion(pages: 4)
        region.store(0x1234_5678, at: 0)
        let number = region.watch(pages: 4)
        #expect(number >= 0)
        #expect(region.load(0) == 0x1234_5678)
        #expect(!clinux_guard_is_tripped(number))
        region.cut(to: 1)
        #expect(region.load(0) == 0x1234_5678, "a page that is still there stays")
        #expect(!clinux_guard_is_tripped(number))
        #expect(region.load(CutRegion.page) == .max)
        #expect(clinux_guard_is_tripped(number))
        #expect(region.load(2 * CutRegion.page - 4) == .max)
        // A store to a page that has not failed yet is lost, and harms nobody.
        region.store(7, at: 3 * CutRegion.page)
        #expect(region.load(3 * CutRegion.page + 4) == .max)
        clinux_guard_remove(number)
    }

    @Test func `lets a region go while somebody still looks`() throws {
        let region = try CutRegion(pages: 2)
        region.store(7, at: 0)
        let number = region.watch(pages: 2)
        #expect(region.detach() == 0)
        #expect(region.load(0) == .max)
        #expect(region.load(CutRegion.page) == .max)
        clinux_guard_remove(number)
    }

    @Test func `leaves a failure elsewhere what it was`() async {
        await #expect(processExitsWith: .signal(SIGBUS)) {
            let region = try CutRegion(pages: 2)
            // One page is guarded; the one behind it is not.
            _ = region.watch(pages: 1)
            region.cut(to: 0)
            if region.load(0) == .max { _ = region.load(CutRegion.page) }
        }
    }
}

/// Memory that fails as a device's does when it is pulled out: the file behind a mapping is cut off.
@safe private final class CutRegion {
    static let page = Int(sysconf(Int32(_SC_PAGESIZE)))
    private let file: Int32
    // SAFETY: mapped in init, unmapped in deinit; offsets are the tests' own.
    private let base: UnsafeMutableRawPointer
    private let byteCount: Int

    init(pages: Int) throws {
        byteCount = pages * Self.page
        file = unsafe memfd_create("test", 0)
        try #require(file >= 0)
        let result = ftruncate(file, off_t(byteCount))
        try #require(result == 0)
        unsafe base = mmap(nil, byteCount, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0)!
    }

    deinit {
        unsafe munmap(base, byteCount)
        close(file)
    }

    func cut(to pages: Int) { _ = ftruncate(file, off_t(pages * Self.page)) }
    func load(_ offset: Int) -> UInt32 { unsafe clinux_mmio_load32(base + offset) }
    func store(_ value: UInt32, at offset: Int) { unsafe clinux_mmio_store32(base + offset, value) }
    func watch(pages: Int) -> Int32 { unsafe clinux_guard_add(base, UInt64(pages * Self.page)) }
    func detach() -> Int32 { unsafe clinux_region_detach(base, UInt64(byteCount)) }
}
