import Bdev
import Logging
import NVMeDriver
import Reactors

// The namespaces that a controller shows, and the bdevs of them.
extension Subsystem {
    /// Brings the bdevs in line with what a controller shows: makes, resizes and removes them, adds the path to those
    /// of others and takes it away, and sees how each is reached.
    ///
    /// - Throws: the first error of those that keep a bdev from being made. `isFirst`: at once; otherwise the others
    ///   have been seen to.
    func match(_ path: ControllerPath, _ controller: NVMeController, isFirst: Bool) async throws(BdevError) {
        let found = await controller.namespaces
        let accesses = (try? await controller.accesses()) ?? [:]
        if path.controller !== controller { return }
        var failure: BdevError?
        for bdev in bdevs.values {
            let isShown = bdev.table.entries.contains { entry in
                entry.path === path && !found.contains { $0.id == entry.namespace.id }
            }
            if isShown { bdev.change { $0.entries.removeAll { $0.path === path } } }
        }
        for namespace in found where !leaving.contains(namespace.id) {
            let access = accesses[namespace.identity.asymmetricGroup] ?? .optimized
            do throws(BdevError) {
                try await match(path, controller, namespace, access)
            } catch {
                if isFirst { throw error }
                failure = failure ?? error
            }
        }
        await synchronize()
        await remove(bdevs.filter { $0.value.table.entries.isEmpty })
        if let failure { throw failure }
    }

    private func match(
        _ path: ControllerPath, _ controller: NVMeController, _ namespace: NVMeNamespace, _ access: AsymmetricAccess
    ) async throws(BdevError) {
        guard let bdev = bdevs[namespace.id] else {
            return try await make(PathEntry(path: path, namespace: namespace, access: access), controller)
        }
        let identity = NamespaceIdentity(namespace)
        guard let known = bdev.table.entries.first(where: { $0.path === path }) else {
            return try await join(
                bdev, PathEntry(path: path, namespace: namespace, access: access), identity, controller)
        }
        if known.access != access { set(access, of: path, in: bdev, controller) }
        if known.namespace == namespace { return }
        bdev.change { table in
            for index in table.entries.indices where table.entries[index].path === path {
                table.entries[index].namespace = namespace
            }
        }
        if bdev.identity != identity {
            // Another format, or another namespace in its place: another bdev, as soon as this one is closed.
            logger.notice("\(bdev.name): the namespace has another format or identity now: its bdev is made anew")
            bdev.change { $0.entries.removeAll { $0.path === path } }
            return
        }
        if known.namespace.blockCount == namespace.blockCount { return }
        do throws(BdevError) {
            try await host.resize(bdev.name, blockCount: Self.blockCount(namespace))
        } catch {
            logger.warning("\(bdev.name): the namespace has \(namespace.blockCount) blocks now: \(error)")
        }
    }

    /// Another path to a namespace.
    private func join(
        _ bdev: NamespaceBdev, _ entry: PathEntry, _ identity: NamespaceIdentity, _ controller: NVMeController
    ) async throws(BdevError) {
        if !entry.namespace.identity.isShared || !identity.isKnown || identity != bdev.identity {
            throw BdevError(
                .invalidArgument, bdev: bdev.name,
                "namespace \(entry.namespace.id) of \(entry.path.address) is not known to be the same as that of the "
                    + "other paths: it must be shared, and have the same UUID, NGUID, EUI-64 and format")
        }
        let facts = await NamespaceFacts(of: entry.namespace, controller, checks: entry.path.checks)
        if !CommandFormat(entry.namespace, await controller.identity, facts).isSame(as: bdev.format) {
            throw BdevError(
                .invalidArgument, bdev: bdev.name,
                "the controller at \(entry.path.address) does not do with the namespace what the other paths do: its "
                    + "cache, its limits or what it does as one are others")
        }
        if bdevs[entry.namespace.id] !== bdev || bdev.table.entries.contains(where: { $0.path === entry.path }) {
            return
        }
        bdev.change { table in
            if entry.path.controllerID == preferred {
                table.entries.insert(entry, at: 0)
            } else {
                table.entries.append(entry)
            }
        }
    }

    private func make(_ entry: PathEntry, _ controller: NVMeController) async throws(BdevError) {
        let namespace = entry.namespace
        // Others are of no use to those who read and write blocks.
        if namespace.commandSet != 0, namespace.zones == nil {
            return logger.notice(
                "\(name): namespace \(namespace.id) is of command set \(namespace.commandSet): it has no bdev")
        }
        // A report of all of them is one piece of memory; no drive has as many.
        if let zones = namespace.zones, namespace.blockCount / zones.zoneBlockCount > 1 << 24 {
            return logger.warning(
                "\(name): namespace \(namespace.id) says that it has more than 2^24 zones: it has no bdev")
        }
        let facts = await NamespaceFacts(of: namespace, controller, checks: entry.path.checks)
        let identity = await controller.identity
        let properties = Self.properties(of: namespace, identity, facts, controller, name: "\(name)n\(namespace.id)")
        let format = CommandFormat(namespace, identity, facts)
        let bdev = NamespaceBdev(self, properties.name, entry, format, options)
        bdevs[namespace.id] = bdev
        do throws(BdevError) {
            try await host.register(properties, driver: bdev)
        } catch {
            if bdevs[namespace.id] === bdev { bdevs[namespace.id] = nil }
            throw error
        }
        if entry.access.isPassing { expectChange(of: entry.path, in: bdev, controller) }
    }

    // MARK: Asymmetric access

    private func set(
        _ access: AsymmetricAccess, of path: ControllerPath, in bdev: NamespaceBdev, _ controller: NVMeController
    ) {
        bdev.change { table in
            for index in table.entries.indices where table.entries[index].path === path {
                table.entries[index].access = access
                table.entries[index].isOverdue = false
                table.entries[index].epoch += 1
            }
        }
        if access.isPassing { expectChange(of: path, in: bdev, controller) }
    }

    /// I/O does not wait longer for a change than the controller says that one takes.
    private func expectChange(of path: ControllerPath, in bdev: NamespaceBdev, _ controller: NVMeController) {
        guard let epoch = bdev.table.entries.first(where: { $0.path === path })?.epoch else { return }
        Task(executorPreference: home.taskExecutor) {
            let limit = await controller.identity.asymmetricTransitionTime
            await self.pause(.seconds(max(1, limit)))
            var isOverdue = false
            bdev.change { table in
                for index in table.entries.indices
                where table.entries[index].path === path && table.entries[index].epoch == epoch {
                    table.entries[index].isOverdue = true
                    isOverdue = true
                }
            }
            if isOverdue { await bdev.synchronize() }
        }
    }

    // MARK: What a bdev is

    private static func properties(
        of namespace: NVMeNamespace, _ identity: IdentifyController, _ facts: NamespaceFacts,
        _ controller: NVMeController, name: String
    ) -> BdevProperties {
        var geometry = BdevGeometry(blockByteCount: namespace.blockByteCount, blockCount: blockCount(namespace))
        // PRP entries name words.
        geometry.memoryAlignment = 4
        geometry.transferBlockCountLimit = UInt64(namespace.transferBlockCountLimit)
        // What one list names of pieces that do not lie at pages' borders.
        geometry.segmentCountLimit = identity.hasSGL || controller.access.way == .passThrough ? 256 : 1
        geometry.segmentByteCountLimit = 1 << 31
        geometry.writeZeroesBlockCountLimit = facts.limits.writeZeroesBlockCount
        geometry.unmapBlockCountLimit = facts.limits.unmapBlockCount
        geometry.copyBlockCountLimit = facts.limits.copyBlockCount
        geometry.compareAndWriteBlockCountLimit = facts.limits.fusedBlockCount
        setZones(of: namespace, in: &geometry)
        if namespace.identity.hasPreferredSizes { geometry.preferences = preferences(namespace.identity) }
        geometry.hasWriteCache = facts.hasWriteCache
        geometry.metadataByteCount = namespace.format.metadataByteCount
        geometry.isMetadataInterleaved = namespace.identity.isMetadataInterleaved && geometry.metadataByteCount > 0
        geometry.protection = facts.protection
        geometry.node = controller.node
        var types: IOTypes = [.read, .write, .flush, .reset, .abort, .nvmeAdmin, .nvmeIO, .nvmeIOVector]
        if namespace.separateMetadataByteCount > 0 { types.insert(.nvmeIOWithMetadata) }
        if identity.hasDatasetManagement { types.insert(.unmap) }
        if identity.canWriteZeroes { types.insert(.writeZeroes) }
        // The controller would compare metadata too, and a bdev's request has the data only.
        if identity.canCompare, namespace.separateMetadataByteCount == 0 || namespace.canOmitMetadata {
            types.insert(.compare)
        }
        if identity.canWriteUncorrectable { types.insert(.writeUncorrectable) }
        if facts.limits.fusedBlockCount > 0 { types.insert(.compareAndWrite) }
        if controller.capabilities.canResetSubsystem { types.insert(.nvmeSubsystemReset) }
        if namespace.zones != nil { types.formUnion([.zoneInfo, .zoneManagement, .zoneAppend]) }
        // Reference tags are of the place: what is copied would have those of another.
        if facts.limits.copyBlockCount > 0, facts.protection == nil, namespace.zones == nil { types.insert(.copy) }
        var properties = BdevProperties(
            name: name, productName: namespace.zones == nil ? "NVMe disk" : "NVMe ZNS disk", geometry: geometry,
            supportedTypes: types)
        properties.uuid = uuid(of: namespace, identity)
        return properties
    }

    /// Zones are whole.
    private static func blockCount(_ namespace: NVMeNamespace) -> UInt64 {
        namespace.blockCount - namespace.blockCount % (namespace.zones?.zoneBlockCount ?? 1)
    }

    /// Boundaries and zones.
    private static func setZones(of namespace: NVMeNamespace, in geometry: inout BdevGeometry) {
        var boundary = namespace.boundaryBlockCount
        if let zones = namespace.zones {
            geometry.zones = ZoneGeometry(blockCount: zones.zoneBlockCount)
            geometry.zones?.appendBlockCountLimit = UInt64(zones.appendBlockCountLimit)
            geometry.zones?.openLimit = zones.openLimit ?? 0
            geometry.zones?.activeLimit = zones.activeLimit ?? 0
            // Reads are cut between zones where one command may not go from one to the next.
            let isCut = boundary > 0 && zones.zoneBlockCount % boundary == 0
            if !zones.readsAcrossZones, !isCut { boundary = zones.zoneBlockCount }
        }
        if boundary == 0 { return }
        geometry.optimalBoundaryBlockCount = boundary
        geometry.splitsAtOptimalBoundary = true
    }

    private static func preferences(_ identity: IdentifyNamespace) -> IOPreferences {
        var result = IOPreferences()
        result.writeGranularity = UInt32(identity.preferredWriteGranularity)
        result.writeAlignment = UInt32(identity.preferredWriteAlignment)
        result.optimalWriteSize = UInt32(identity.optimalWriteSize)
        result.unmapGranularity = UInt32(identity.preferredDeallocateGranularity)
        result.unmapAlignment = UInt32(identity.preferredDeallocateAlignment)
        return result
    }

    /// Its own UUID, else its NGUID, else one that follows from the controller's serial number and the namespace's
    /// identifier: the same each time.
    private static func uuid(of namespace: NVMeNamespace, _ identity: IdentifyController) -> BdevUUID {
        if let bytes = namespace.uuid ?? namespace.identity.globalID, let uuid = uuid(bytes) { return uuid }
        let text = "\(identity.modelNumber)/\(identity.serialNumber)/\(namespace.id)"
        return BdevUUID(of: text, in: BdevUUID("0f0c8a0e-6d4a-4b8e-9d5b-0a1f5f1c7b52")!)
    }

    private static func uuid(_ bytes: [UInt8]) -> BdevUUID? {
        let digits = bytes.map { byte in
            let digits = String(byte, radix: 16)
            return digits.count < 2 ? "0" + digits : digits
        }
        let groups = [digits[0..<4], digits[4..<6], digits[6..<8], digits[8..<10], digits[10..<16]]
        return BdevUUID(groups.map { $0.joined() }.joined(separator: "-"))
    }
}
