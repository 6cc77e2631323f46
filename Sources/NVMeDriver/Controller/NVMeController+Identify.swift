import Logging
import Reactors

// What the controller says of itself and of its namespaces (NVM Express Base Specification 2.0, section 5.17).
extension NVMeController {
    /// What the controller returns for one value of CNS (NVM Express Base Specification 2.0, section 5.17): 4,096
    /// bytes.
    public func identify(
        _ structure: UInt8, namespaceID: UInt32 = 0, commandSet: UInt8 = 0
    ) async throws(NVMeError) -> [UInt8] {
        var command = SubmissionQueueEntry(opcode: AdminOpcode.identify, namespaceID: namespaceID)
        command.cdw10 = UInt32(structure)
        command.cdw11 = UInt32(commandSet) << 24
        return try await read(4096, command)
    }

    func identifyController() async throws(NVMeError) -> IdentifyController {
        IdentifyController(data: try await identify(1))
    }

    func identifyNamespaces() async throws(NVMeError) -> [NVMeNamespace] {
        if version < NVMeVersion(1, 1) || transport.quirks.contains(.listsNoNamespaces) {
            return try await identifyEachNamespace()
        }
        var result: [NVMeNamespace] = []
        var last: UInt32 = 0
        while true {
            let list = DataReader(bytes: try await identify(2, namespaceID: last))
            for index in 0..<1024 {
                let id = list.double(4 * index)
                if id == 0 { return result }
                // The list rises; one that does not would go on for ever.
                if id <= last {
                    throw NVMeError(
                        .protocolViolation, device: name, "the list of namespaces does not rise: \(id) follows \(last)")
                }
                last = id
                let data = try await identify(0, namespaceID: id)
                if let namespace = try await identifyNamespace(id, data) { result.append(namespace) }
            }
        }
    }

    /// Where there is no list of them: asks for all that there can be, as far as anybody has so many.
    private func identifyEachNamespace() async throws(NVMeError) -> [NVMeNamespace] {
        let limit: UInt32 = 1024, count = identity.namespaceIDLimit
        if count > limit {
            logger.notice("\(name): it lists no namespaces, and there may be \(count): only \(limit) are asked for")
        }
        var result: [NVMeNamespace] = []
        for id in 1...max(1, min(count, limit)) {
            do throws(NVMeError) {
                let data = try await identify(0, namespaceID: id)
                if IdentifyNamespace(data: data).blockCount == 0 { continue }
                if let namespace = try await identifyNamespace(id, data) { result.append(namespace) }
            } catch {
                // It is not there.
                if error.code != .commandFailed { throw error }
            }
        }
        return result
    }

    /// Bytes from one border to the next that no transfer should go over; 0: there are none.
    private var stripeByteCount: Int {
        let shift = identity.stripePageShift
        return transport.quirks.contains(.stripes) && 1..<20 ~= shift
            ? capabilities.pageByteCounts.lowerBound << shift : 0
    }

    /// Nil for one whose data makes no sense or that is not there any more, which is logged. `data`: what it says of
    /// itself.
    private func identifyNamespace(_ id: UInt32, _ data: [UInt8]) async throws(NVMeError) -> NVMeNamespace? {
        let descriptors = try await descriptors(of: id)
        let zones =
            descriptors.commandSet == 2
            ? DataReader(bytes: try await identify(5, namespaceID: id, commandSet: 2)) : nil
        let protectionType = IdentifyNamespace(data: data).protectionType
        let extended = protectionType > 0 && identity.hasExtendedFormats ? try await extendedFormats(of: id) : nil
        let appendByteLimit = zones == nil ? transferByteLimit : try await appendByteLimit()
        guard
            let namespace = NVMeNamespace(
                id: id, identity: IdentifyNamespace(data: data), commandSet: descriptors.commandSet,
                uuid: descriptors.uuid, extended: extended, transferByteLimit: transferByteLimit,
                stripeByteCount: stripeByteCount, zones: zones, appendByteLimit: appendByteLimit)
        else {
            logger.warning("\(name): namespace \(id) says of itself what cannot be; it is left out")
            return nil
        }
        return namespace
    }

    /// CNS 5 of the NVM command set, which is of zoned namespaces too; nil: the controller does not say.
    private func extendedFormats(of id: UInt32) async throws(NVMeError) -> DataReader? {
        do throws(NVMeError) {
            return DataReader(bytes: try await identify(5, namespaceID: id))
        } catch {
            if error.code != .commandFailed { throw error }
            return nil
        }
    }

    /// ZASL (Zoned Namespace Command Set Specification 1.1, figure 50), of controllers that say it.
    private func appendByteLimit() async throws(NVMeError) -> Int {
        do throws(NVMeError) {
            let shift = Int(try await identify(6, commandSet: 2)[0])
            if shift == 0 || shift >= 20 { return transferByteLimit }
            return min(transferByteLimit, capabilities.pageByteCounts.lowerBound << shift)
        } catch {
            if error.code != .commandFailed { throw error }
            return transferByteLimit
        }
    }

    /// CNS 3: a list of type, length and value.
    private func descriptors(of id: UInt32) async throws(NVMeError) -> (uuid: [UInt8]?, commandSet: UInt8) {
        var result: (uuid: [UInt8]?, commandSet: UInt8) = (nil, 0)
        if version < NVMeVersion(1, 3) { return result }
        let list = DataReader(bytes: try await identify(3, namespaceID: id))
        var offset = 0
        while offset + 4 <= list.bytes.count, list.byte(offset) != 0 {
            let length = Int(list.byte(offset + 1)), value = offset + 4
            if value + length > list.bytes.count { break }
            if list.byte(offset) == 3, length == 16 { result.uuid = list.array(value..<value + 16) }
            if list.byte(offset) == 4, length == 1 { result.commandSet = list.byte(value) }
            offset = value + length
        }
        return result
    }
}
