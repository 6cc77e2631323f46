/// Where a controller's registers lie, in bytes (NVM Express Base Specification 2.0, figure 35).
enum RegisterOffset {
    static let capabilities = 0x00
    static let version = 0x08
    static let configuration = 0x14
    static let status = 0x1C
    static let subsystemReset = 0x20
    static let adminQueueAttributes = 0x24
    static let adminSubmissionQueue = 0x28
    static let adminCompletionQueue = 0x30
    static let memoryBufferLocation = 0x38
    static let memoryBufferSize = 0x3C
    static let memoryBufferSpace = 0x50
    static let memoryBufferStatus = 0x58
    static let persistentMemoryCapabilities = 0xE00
    static let persistentMemoryControl = 0xE04
    static let persistentMemoryStatus = 0xE08
    static let doorbells = 0x1000
}

/// CAP: what the controller can do.
public struct ControllerCapabilities: Hashable, Sendable {
    public let rawValue: UInt64

    public init(rawValue: UInt64) { self.rawValue = rawValue }

    /// MQES + 1: the most entries of an I/O queue.
    public var queueEntryLimit: Int { Int(rawValue & 0xFFFF) + 1 }
    /// CQR: I/O queues must be physically contiguous; they are.
    public var requiresContiguousQueues: Bool { rawValue >> 16 & 1 != 0 }
    /// TO: how long the controller may take to become ready, or to stop.
    public var readyTimeout: Duration { .milliseconds(Int64(rawValue >> 24 & 0xFF) * 500) }
    /// DSTRD: bytes from one doorbell to the next.
    public var doorbellStride: Int { 4 << Int(rawValue >> 32 & 0xF) }
    /// NSSRS: the subsystem can be reset through a register.
    public var canResetSubsystem: Bool { rawValue >> 36 & 1 != 0 }
    /// CSS bit 0: the NVM command set.
    public var hasNVMCommandSet: Bool { rawValue >> 37 & 1 != 0 }
    /// CSS bit 6: one or more I/O command sets, told apart by the Identify command.
    public var hasCommandSets: Bool { rawValue >> 43 & 1 != 0 }
    /// MPSMIN and MPSMAX: sizes of memory pages, in bytes.
    public var pageByteCounts: ClosedRange<Int> {
        let least = 4096 << Int(rawValue >> 48 & 0xF)
        return least...max(least, 4096 << Int(rawValue >> 52 & 0xF))
    }
    /// PMRS.
    public var hasPersistentMemoryRegion: Bool { rawValue >> 56 & 1 != 0 }
    /// CMBS.
    public var hasMemoryBuffer: Bool { rawValue >> 57 & 1 != 0 }
}

/// VS: which version of the specification it follows.
public struct NVMeVersion: Hashable, Comparable, Sendable, CustomStringConvertible {
    public let rawValue: UInt32

    public init(rawValue: UInt32) { self.rawValue = rawValue }

    public init(_ major: Int, _ minor: Int, _ tertiary: Int = 0) {
        rawValue = UInt32(major) << 16 | UInt32(minor) << 8 | UInt32(tertiary)
    }

    public static func < (left: NVMeVersion, right: NVMeVersion) -> Bool { left.rawValue < right.rawValue }

    /// `1.4` or `1.2.1`.
    public var description: String {
        let third = rawValue & 0xFF
        return "\(rawValue >> 16).\(rawValue >> 8 & 0xFF)" + (third == 0 ? "" : ".\(third)")
    }
}

/// CC: what the host wants of the controller.
struct ControllerConfiguration: Hashable, Sendable {
    var rawValue: UInt32

    /// Off, with the entry sizes that every controller has: 64 bytes and 16.
    init(pageByteCount: Int, usesCommandSets: Bool) {
        let page = UInt32((pageByteCount / 4096).trailingZeroBitCount)
        rawValue = 6 << 16 | 4 << 20 | page << 7 | (usesCommandSets ? 6 << 4 : 0)
    }

    init(rawValue: UInt32) { self.rawValue = rawValue }

    var isEnabled: Bool {
        get { rawValue & 1 != 0 }
        set { rawValue = rawValue & ~1 | (newValue ? 1 : 0) }
    }

    /// SHN: a shutdown is about to come.
    mutating func notifyShutdown(abrupt: Bool) { rawValue = rawValue & ~(3 << 14) | (abrupt ? 2 : 1) << 14 }
}

/// CSTS: what the controller says of itself.
struct ControllerStatus: Hashable, Sendable {
    let rawValue: UInt32

    var isReady: Bool { rawValue & 1 != 0 }
    /// CFS: it cannot go on.
    var isFatal: Bool { rawValue & 2 != 0 }
    /// SHST: 0 none, 1 under way, 2 complete.
    var shutdown: UInt32 { rawValue >> 2 & 3 }
    /// What is read of a device that is not there.
    var isGone: Bool { rawValue == .max }
}
