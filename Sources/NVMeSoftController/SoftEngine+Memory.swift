import NVMeDriver
import Reactors

// Where a command's data is.
extension SoftEngine {
    /// The host's memory that a command names, `byteCount` bytes in all; nil when it names what cannot be reached.
    func pieces(of command: SoftCommand, byteCount: Int) -> [IOMemory]? {
        command.usesSGL ? descriptors(command, byteCount) : pages(command, byteCount)
    }

    private func pages(_ command: SoftCommand, _ byteCount: Int) -> [IOMemory]? {
        var result: [IOMemory] = [], left = byteCount
        func add(_ address: UInt64) -> Bool {
            let count = min(left, 4096 - Int(address & 4095))
            // Only the first may begin inside a page.
            if !result.isEmpty, address & 4095 != 0 { return false }
            guard address & 3 == 0, let memory = mapper.memory(at: address, byteCount: count) else { return false }
            result.append(memory)
            left -= count
            return true
        }
        if !add(command.dataPointer1) { return nil }
        if left == 0 { return result }
        if left <= 4096 { return add(command.dataPointer2) ? result : nil }
        var list = command.dataPointer2
        while left > 0 {
            let isLastOfPage = list & 4095 == 4088
            guard let entry = mapper.memory(at: list, byteCount: 8)?.load(UInt64.self, at: 0) else { return nil }
            if isLastOfPage, left > 4096 {
                list = entry
                continue
            }
            if !add(entry) { return nil }
            list += 8
        }
        return result
    }

    private func descriptors(_ command: SoftCommand, _ byteCount: Int) -> [IOMemory]? {
        if !options.hasSGL { return nil }
        let kind = command.dataPointer2 >> 60, length = Int(command.dataPointer2 & 0xFFFF_FFFF)
        if kind == 0 {
            return length < byteCount ? nil : mapper.memory(at: command.dataPointer1, byteCount: byteCount).map { [$0] }
        }
        guard kind == 3, length % 16 == 0,
            let list = mapper.memory(at: command.dataPointer1, byteCount: length)
        else { return nil }
        var result: [IOMemory] = [], left = byteCount
        for offset in stride(from: 0, to: length, by: 16) where left > 0 {
            let second: UInt64 = list.load(at: offset + 8)
            let count = min(left, Int(second & 0xFFFF_FFFF))
            guard second >> 60 == 0, let memory = mapper.memory(at: list.load(at: offset), byteCount: count) else {
                return nil
            }
            result.append(memory)
            left -= count
        }
        return left == 0 ? result : nil
    }
}
