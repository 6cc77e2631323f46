import NVMeDriver
import Reactors

// The controller's own memory (CMB), for submission queues and data, and its persistent memory (PMR).
extension SoftEngine {
    static let bufferRegister = 2, persistentRegister = 4
    private static let location = 0x38, size = 0x3C, space = 0x50

    func showMemorySize() {
        if persistent != nil {
            registers.store32(UInt32(Self.persistentRegister) << 5 | 1 << 16, Self.persistentCapabilities)
            registers.store32(Self.isNotReady, Self.persistentStatus)
        }
        guard let buffer else { return }
        registers.store32(UInt32(Self.bufferRegister), Self.location)
        registers.store32(UInt32(buffer.byteCount / 4096) << 12 | 0x19, Self.size)
    }

    /// Lies from now on where the host has said, also when the controller was off meanwhile.
    func placeMemory() {
        let wanted = registers.load64(Self.space)
        guard let buffer, wanted & 2 != 0 else { return mapper.takeOwnAway() }
        mapper.layOwn(buffer.memory(from: 0, count: buffer.byteCount), at: IOVA(wanted & ~0xFFF))
    }

    // MARK: Persistent memory

    private static let persistentCapabilities = 0xE00, persistentControl = 0xE04, persistentStatus = 0xE08
    private static let isNotReady: UInt32 = 1 << 8

    static func makePersistentMemory(_ contents: [UInt8]) throws(ReactorError) -> MemoryRegion? {
        precondition(contents.count % 4096 == 0, "a controller's memory has whole pages")
        if contents.isEmpty { return nil }
        let region = try MemoryRegion(byteCount: contents.count)
        let memory = region.memory(from: 0, count: contents.count)
        for (offset, byte) in contents.enumerated() { memory.store(byte, at: offset) }
        return region
    }

    /// Ready as long as it is switched on.
    func followPersistentMemory() {
        if persistent == nil || isGone { return }
        let isOn = registers.load32(Self.persistentControl) & 1 != 0
        registers.store32(isOn ? options.persistentMemoryStatus : Self.isNotReady, Self.persistentStatus)
    }
}
