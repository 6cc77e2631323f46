import NVMeDriver
import Reactors

// The controller's own memory (CMB), for submission queues.
extension SoftEngine {
    private static let location = 0x38, size = 0x3C, space = 0x50

    func showMemorySize() {
        guard let buffer else { return }
        registers.store32(2, Self.location)
        registers.store32(UInt32(buffer.byteCount / 4096) << 12 | 1, Self.size)
    }

    /// Lies from now on where the host has said.
    func placeMemory() {
        let wanted = registers.load64(Self.space)
        guard let buffer, wanted & 2 != 0 else { return }
        let start = IOVA(wanted & ~0xFFF)
        if start == bufferStart { return }
        forgetMemory()
        try? mapper.install(buffer.memory(from: 0, count: buffer.byteCount), at: start)
        bufferStart = start
    }

    func forgetMemory() {
        guard let buffer, let start = bufferStart else { return }
        mapper.uninstall(byteCount: buffer.byteCount, at: start)
        bufferStart = nil
    }
}
