/// A namespace of a controller, as it was when it was identified.
public struct NVMeNamespace: Hashable, Sendable {
    /// NSID.
    public let id: UInt32
    public let identity: IdentifyNamespace
    /// Its command set: 0 NVM, 1 key value, 2 zoned.
    public let commandSet: UInt8
    /// From its identification descriptors; nil: it has none.
    public let uuid: [UInt8]?
    /// Of the format in use.
    public let format: LBAFormat
    /// Bytes from one block to the next in memory: data, and metadata where it lies behind it.
    public let blockByteCount: Int

    /// The most blocks of one command that moves data: 1 to 65,536.
    public let transferBlockCountLimit: Int

    /// Blocks from one border to the next that no command that moves data goes over: NOIOB, or what its controller is
    /// known for; 0: there are none.
    public let boundaryBlockCount: UInt64

    /// What its blocks' protection information looks like; nil: they have none.
    public let protection: NVMeProtection?

    /// What it says of its zones; nil: it has none.
    public let zones: IdentifyZones?

    /// Nil for data that makes no sense: no such format, blocks of an impossible size, none at all, protection
    /// information that cannot be.
    ///
    /// `extended`: its identity in the NVM command set; nil: the controller has no extended formats.
    /// `transferByteLimit`: of the controller. `stripeByteCount`: what it is cut at without a NOIOB; 0: nothing.
    /// `zones`: its identity in the zoned command set, where it is of that. `appendByteLimit`: of the controller too.
    init?(
        id: UInt32, identity: IdentifyNamespace, commandSet: UInt8, uuid: [UInt8]?, extended: DataReader? = nil,
        transferByteLimit: Int, stripeByteCount: Int = 0, zones: DataReader? = nil, appendByteLimit: Int = .max
    ) {
        let formats = identity.formats
        guard identity.formatIndex < formats.count else { return nil }
        let format = formats[identity.formatIndex]
        if format.dataByteCount == 0 || identity.blockCount == 0 { return nil }
        protection = NVMeProtection(identity, metadataByteCount: format.metadataByteCount, extended: extended)
        if protection == nil, identity.protectionType > 0 { return nil }
        boundaryBlockCount = UInt64(
            identity.optimalBoundaryBlockCount > 0
                ? identity.optimalBoundaryBlockCount : stripeByteCount / format.dataByteCount)
        let size = format.dataByteCount + format.metadataByteCount
        let transferLimit = min(65_536, max(1, transferByteLimit / size))
        let zoned = zones.map {
            IdentifyZones(
                $0, formatIndex: identity.formatIndex,
                appendBlockCountLimit: min(transferLimit, max(1, appendByteLimit / size)))
        }
        if let zoned, zoned.zoneBlockCount == 0 || zoned.zoneBlockCount > identity.blockCount { return nil }
        self.zones = zoned
        self.id = id
        self.identity = identity
        self.commandSet = commandSet
        self.uuid = uuid
        self.format = format
        transferBlockCountLimit = transferLimit
        blockByteCount = format.dataByteCount + (identity.isMetadataInterleaved ? format.metadataByteCount : 0)
    }

    public var blockCount: UInt64 { identity.blockCount }
    /// Of separate metadata, in bytes for each block; 0: there is none, or it lies behind the data.
    public var separateMetadataByteCount: Int { identity.isMetadataInterleaved ? 0 : format.metadataByteCount }
    /// The metadata is protection information and nothing else: the controller can make and strip it (PRACT).
    public var canOmitMetadata: Bool { protection.map { $0.format.byteCount == format.metadataByteCount } ?? false }

    /// Whether it is the same as `other`, however much of it is in use (NUSE changes with each write).
    func isSame(as other: NVMeNamespace) -> Bool {
        let usage = 16..<24
        func rest(_ namespace: NVMeNamespace) -> [UInt8] {
            var data = namespace.identity.data
            for index in usage where index < data.count { data[index] = 0 }
            return data
        }
        return id == other.id && commandSet == other.commandSet && uuid == other.uuid
            && protection == other.protection && rest(self) == rest(other)
    }
}
