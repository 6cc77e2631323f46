import CLinux
import SystemPackage

extension BlockFile {
    /// Whether its data is in memory, so that a read or write is a copy and nothing waits for a device: a file of
    /// tmpfs, ramfs or hugetlbfs, a RAM disk of the kernel (brd), a zram device that has no backing device. Some
    /// system calls.
    package var isInMemory: Bool {
        switch kind {
        case .regularFile: return clinux_file_is_in_memory(descriptor.rawValue)
        case .blockDevice:
            guard let information = try? FileCalls.identify(descriptor) else { return false }
            // 1 is the RAM disks' own major number (Documentation/admin-guide/devices.txt); others are numbered as
            // they come.
            if information.major == 1 { return true }
            let directory = "/sys/dev/block/\(information.major):\(information.minor)"
            if FileCalls.text(at: "\(directory)/mm_stat", limit: 256) == nil { return false }
            return FileCalls.text(at: "\(directory)/backing_dev", limit: 256).map { $0.hasPrefix("none") } ?? true
        }
    }

    /// Whether ranges of a regular file that is open for writing can be given back to its file system. One system call.
    package var canPunchHoles: Bool {
        kind == .regularFile && !isReadOnly && clinux_file_can_punch_holes(descriptor.rawValue, byteCount)
    }
}
