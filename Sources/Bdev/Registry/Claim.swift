/// How a module wants a bdev to itself (SPDK: `spdk_bdev_claim_type`).
public enum ClaimKind: Sendable, Hashable, CustomStringConvertible {
    /// Nobody else writes, and nobody else claims.
    case exclusiveWrite
    /// The same; a claim of its own kind, as the reference has it.
    case readManyWriteOne
    /// Nobody writes at all, the claimer neither. Many may claim it so at once.
    case readManyWriteNone
    /// All who claim it so with the same key write, and nobody else. The key is not 0.
    case readManyWriteShared(key: UInt64)

    /// The name SPDK's tools know it by.
    public var description: String {
        switch self {
        case .exclusiveWrite: "exclusive_write"
        case .readManyWriteOne: "read_many_write_one"
        case .readManyWriteNone: "read_many_write_none"
        case .readManyWriteShared: "read_many_write_shared"
        }
    }

    /// Whether both are of one kind, whatever their keys.
    func isLike(_ other: ClaimKind) -> Bool {
        switch (self, other) {
        case (.exclusiveWrite, .exclusiveWrite), (.readManyWriteOne, .readManyWriteOne),
            (.readManyWriteNone, .readManyWriteNone), (.readManyWriteShared, .readManyWriteShared):
            true
        default: false
        }
    }
}

/// Who has claimed a bdev, and how.
public struct BdevClaim: Sendable, Hashable, CustomStringConvertible {
    public let kind: ClaimKind
    /// The name of the claiming module.
    public let module: String
    /// What the module said it claims the bdev for; may be empty.
    public let label: String

    /// `module 'raid' (read_many_write_one, "set 3")`
    public var description: String {
        "module '\(module)' (\(kind)\(label.isEmpty ? "" : ", \"\(label)\""))"
    }
}

extension BdevModuleHost {
    /// Claims the bdev that `descriptor` has open, until the descriptor is closed or ``release(_:)`` ends the claim.
    ///
    /// Every kind but `readManyWriteNone` makes the descriptor writable if it was not, and the channels it has open
    /// follow before this returns (SPDK: `spdk_bdev_module_claim_bdev_desc`). Checked and taken in one step: of two
    /// modules that ask at once, one has it.
    ///
    /// `label`: what for, shown to people in ``BdevInfo`` and in errors.
    /// - Throws: `claimed` when another claim, or another descriptor that may write, stands against it: the error names
    ///   the owner; `invalidArgument` for a shared claim with key 0, and for `readManyWriteNone` on a descriptor that
    ///   may write; `removed`; `closed` when the descriptor is closed. Nothing has changed then.
    public func claim(_ descriptor: BdevDescriptor, _ kind: ClaimKind, label: String = "") async throws(BdevError) {
        let claim = BdevClaim(kind: kind, module: module, label: label)
        for channel in try await descriptor.bdev.claim(claim, through: descriptor) { await channel.adoptMode() }
    }

    /// Ends this module's claim through `descriptor` early. The descriptor stays as writable as the claim made it, and
    /// so stands against the claims of others, until it is closed.
    ///
    /// - Throws: `invalidArgument` when this module has no claim through it.
    public func release(_ descriptor: BdevDescriptor) async throws(BdevError) {
        try await descriptor.bdev.release(descriptor, module: module)
    }
}
