/// What a controller says of itself (NVM Express Base Specification 2.0, figure 275).
public struct IdentifyController: Hashable, Sendable {
    /// The 4,096 bytes as the controller gave them.
    public let data: [UInt8]

    public init(data: [UInt8]) { self.data = data }

    private var reader: DataReader { DataReader(bytes: data) }

    /// VID and SSVID.
    public var vendorID: UInt16 { reader.word(0) }
    public var subsystemVendorID: UInt16 { reader.word(2) }
    /// SN.
    public var serialNumber: String { reader.text(4..<24) }
    /// MN.
    public var modelNumber: String { reader.text(24..<64) }
    /// FR.
    public var firmwareRevision: String { reader.text(64..<72) }
    /// IEEE, the highest byte first.
    public var organizationID: UInt32 { reader.double(73) & 0xFF_FFFF }
    /// CMIC bit 0: the subsystem has more than one port.
    public var hasMultiplePorts: Bool { reader.byte(76) & 1 != 0 }
    /// CMIC bit 1: the subsystem has more than one controller.
    public var hasMultipleControllers: Bool { reader.byte(76) & 2 != 0 }
    /// CMIC bit 3: asymmetric namespace access is reported.
    public var reportsAsymmetricAccess: Bool { reader.byte(76) & 8 != 0 }
    /// MDTS in units of the least page; nil: no limit.
    public var transferPageShift: Int? { reader.byte(77) == 0 ? nil : Int(reader.byte(77)) }
    /// CNTLID.
    public var controllerID: UInt16 { reader.word(78) }
    /// VER.
    public var version: NVMeVersion { NVMeVersion(rawValue: reader.double(80)) }
    /// RTD3R and RTD3E, in microseconds; 0: not said.
    public var resumeLatency: UInt32 { reader.double(84) }
    public var entryLatency: UInt32 { reader.double(88) }
    /// OAES.
    public var asynchronousEvents: UInt32 { reader.double(92) }
    /// CTRATT.
    public var attributes: UInt32 { reader.double(96) }
    /// CTRATT bit 15: there may be more than 16 LBA formats.
    public var hasExtendedFormats: Bool { attributes & 1 << 15 != 0 }
    /// FGUID.
    public var globalID: [UInt8] { reader.array(112..<128) }
    /// CRDT1 to CRDT3, in units of 100 ms.
    public var retryDelays: [UInt16] { [reader.word(128), reader.word(130), reader.word(132)] }
    /// OACS.
    public var optionalAdminCommands: UInt16 { reader.word(256) }
    public var hasSecurityCommands: Bool { optionalAdminCommands & 1 != 0 }
    public var canFormat: Bool { optionalAdminCommands & 2 != 0 }
    public var canUpdateFirmware: Bool { optionalAdminCommands & 4 != 0 }
    public var canManageNamespaces: Bool { optionalAdminCommands & 8 != 0 }
    public var canTestItself: Bool { optionalAdminCommands & 0x10 != 0 }
    public var canVirtualize: Bool { optionalAdminCommands & 0x80 != 0 }
    public var hasDoorbellBuffers: Bool { optionalAdminCommands & 0x100 != 0 }
    /// ACL + 1: how many Abort commands it takes at once.
    public var abortLimit: Int { Int(reader.byte(258)) + 1 }
    /// AERL + 1: how many asynchronous event requests it takes at once.
    public var asynchronousEventLimit: Int { Int(reader.byte(259)) + 1 }
    /// FRMW.
    public var firmwareUpdates: UInt8 { reader.byte(260) }
    /// LPA.
    public var logPageAttributes: UInt8 { reader.byte(261) }
    /// ELPE + 1: entries of the error log.
    public var errorLogEntryCount: Int { Int(reader.byte(262)) + 1 }
    /// NPSS + 1.
    public var powerStateCount: Int { Int(reader.byte(263)) + 1 }
    /// WCTEMP and CCTEMP, in kelvin; 0: not said.
    public var warningTemperature: UInt16 { reader.word(266) }
    public var criticalTemperature: UInt16 { reader.word(268) }
    /// TNVMCAP and UNVMCAP in bytes, as far as 64 bits go.
    public var totalByteCount: UInt64 { reader.quad(280) }
    public var unallocatedByteCount: UInt64 { reader.quad(296) }
    /// KAS in milliseconds: the granularity of the keep-alive timer; 0: there is none.
    public var keepAliveGranularity: Int { Int(reader.word(320)) * 100 }
    /// FWUG: what pieces of a firmware image are multiples of, in units of 4 KiB; 0: not said, or no restriction.
    public var firmwareGranularity: UInt8 { reader.byte(319) == 0xFF ? 0 : reader.byte(319) }
    /// SANICAP.
    public var sanitizeCapabilities: UInt32 { reader.double(328) }
    /// ANATT in seconds, ANACAP, ANAGRPMAX, NANAGRPID.
    public var asymmetricTransitionTime: Int { Int(reader.byte(342)) }
    public var asymmetricCapabilities: UInt8 { reader.byte(343) }
    public var asymmetricGroupLimit: UInt32 { reader.double(344) }
    public var asymmetricGroupCount: UInt32 { reader.double(348) }
    /// SQES and CQES: the least and the greatest entry sizes, as powers of two.
    public var submissionEntrySizes: (least: Int, greatest: Int) { sizes(512) }
    public var completionEntrySizes: (least: Int, greatest: Int) { sizes(513) }
    private func sizes(_ offset: Int) -> (least: Int, greatest: Int) {
        (1 << Int(reader.byte(offset) & 0xF), 1 << Int(reader.byte(offset) >> 4))
    }
    /// MAXCMD; 0: not said.
    public var commandLimit: Int { Int(reader.word(514)) }
    /// NN: the highest namespace identifier there can be.
    public var namespaceIDLimit: UInt32 { reader.double(516) }
    /// ONCS.
    public var optionalCommands: UInt16 { reader.word(520) }
    public var canCompare: Bool { optionalCommands & 1 != 0 }
    public var canWriteUncorrectable: Bool { optionalCommands & 2 != 0 }
    public var hasDatasetManagement: Bool { optionalCommands & 4 != 0 }
    public var canWriteZeroes: Bool { optionalCommands & 8 != 0 }
    public var hasReservations: Bool { optionalCommands & 0x20 != 0 }
    public var canVerify: Bool { optionalCommands & 0x80 != 0 }
    public var canCopy: Bool { optionalCommands & 0x100 != 0 }
    /// FUSES bit 0.
    public var canFuseCompareAndWrite: Bool { reader.word(522) & 1 != 0 }
    /// FNA.
    public var formatAttributes: UInt8 { reader.byte(524) }
    /// VWC bit 0: there is a volatile write cache.
    public var hasVolatileWriteCache: Bool { reader.byte(525) & 1 != 0 }
    /// VWC bits 2:1 are 3: Flush takes the broadcast namespace identifier.
    public var flushesAllNamespaces: Bool { reader.byte(525) >> 1 & 3 == 3 }
    /// AWUN and AWUPF + 1, in blocks.
    public var atomicWriteBlockCount: Int { Int(reader.word(526)) + 1 }
    public var atomicWriteBlockCountAcrossPowerFail: Int { Int(reader.word(528)) + 1 }
    /// ACWU + 1: blocks of a fused compare-and-write.
    public var atomicCompareAndWriteBlockCount: Int { Int(reader.word(532)) + 1 }
    /// OCFS: formats of Copy.
    public var copyFormats: UInt16 { reader.word(534) }
    /// SGLS.
    public var sglSupport: UInt32 { reader.double(536) }
    public var hasSGL: Bool { sglSupport & 3 != 0 }
    public var needsAlignedSGL: Bool { sglSupport & 3 == 2 }
    /// MNAN.
    public var namespaceLimit: UInt32 { reader.double(540) }
    /// Byte 3 of the vendor's own part.
    var stripePageShift: Int { Int(reader.byte(3075)) }
    /// SUBNQN.
    public var subsystemName: String { reader.text(768..<1024) }
}
