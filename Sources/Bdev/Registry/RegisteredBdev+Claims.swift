/// A claim, and the descriptor whose closing ends it.
struct HeldClaim {
    let descriptor: BdevDescriptor
    let claim: BdevClaim
}

extension RegisteredBdev {
    /// Takes a claim, or throws and changes nothing. The order of the checks is SPDK's: a claim of another kind is told
    /// before wrong arguments are, and wrong arguments before a claim of the same kind.
    ///
    /// - Returns: the descriptor's channels, which may write from now on and have to be told.
    func claim(_ claim: BdevClaim, through descriptor: BdevDescriptor) throws(BdevError) -> [BdevChannel] {
        if descriptor.isClosed { throw BdevError(.closed, bdev: name, "cannot claim: the descriptor is closed") }
        if state != .ready { throw BdevError(.removed, bdev: name, "cannot claim: the bdev is being removed") }
        if let held = claims.first, !held.claim.kind.isLike(claim.kind) { throw refuse(claim, for: held) }
        if let own = claims.first(where: { $0.descriptor === descriptor }) { throw refuse(claim, for: own) }
        switch claim.kind {
        case .exclusiveWrite, .readManyWriteOne:
            if let held = claims.first { throw refuse(claim, for: held) }
        case .readManyWriteNone:
            if descriptor.mode == .readWrite {
                throw BdevError(
                    .invalidArgument, bdev: name, "cannot claim \(claim.kind) through a descriptor that may write",
                    advice: "open it with mode .readOnly")
            }
        case .readManyWriteShared(let key):
            if key == 0 {
                throw BdevError(
                    .invalidArgument, bdev: name, "cannot claim \(claim.kind) with key 0",
                    advice: "use the key that all who share the claim know")
            }
            if let held = claims.first, held.claim.kind != claim.kind { throw refuse(claim, for: held) }
        }
        if hasUnclaimedWriter(besides: descriptor) {
            throw BdevError(
                .claimed, bdev: name, "cannot claim \(claim.kind): another descriptor is open for writing",
                advice: "close it first")
        }
        claims.append(HeldClaim(descriptor: descriptor, claim: claim))
        return claim.kind == .readManyWriteNone ? [] : descriptor.promote()
    }

    /// Somebody else may write, and no claim lets him.
    private func hasUnclaimedWriter(besides descriptor: BdevDescriptor) -> Bool {
        descriptors.contains { other in
            other !== descriptor && other.mode == .readWrite && !claims.contains { $0.descriptor === other }
        }
    }

    private func refuse(_ claim: BdevClaim, for held: HeldClaim) -> BdevError {
        BdevError(.claimed, bdev: name, "cannot claim \(claim.kind): \(held.claim) has claimed it")
    }

    func release(_ descriptor: BdevDescriptor, module: String) throws(BdevError) {
        guard claims.contains(where: { $0.descriptor === descriptor && $0.claim.module == module }) else {
            throw BdevError(.invalidArgument, bdev: name, "module '\(module)' has no claim through this descriptor")
        }
        endClaim(of: descriptor)
    }

    func endClaim(of descriptor: BdevDescriptor) {
        claims.removeAll { $0.descriptor === descriptor }
        changes.signal()
    }
}
