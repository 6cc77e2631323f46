import NVMeDriver

/// How well a namespace is reached through a controller (NVM Express Base Specification 2.0, section 8.1.1.4).
enum AsymmetricAccess: UInt8, Sendable {
    case optimized = 1
    case nonOptimized = 2
    case inaccessible = 3
    case persistentLoss = 4
    case change = 0xF

    var isUsable: Bool { self == .optimized || self == .nonOptimized }
    /// It ends by itself, within the controller's transition time.
    var isPassing: Bool { self == .inaccessible || self == .change }

    /// What log page 0Ch says of each group; `read` gives the bytes of a stretch. A controller is not trusted: what is
    /// cut off, or has no meaning, is left out, and groups that are not told of are optimized.
    static func groups(in page: [UInt8]) -> [UInt32: AsymmetricAccess] {
        func number(_ offset: Int, _ count: Int) -> UInt32 {
            (0..<count).reduce(0) { $0 | UInt32(page[offset + $1]) << UInt32(8 * $1) }
        }
        var result: [UInt32: AsymmetricAccess] = [:]
        if page.count < 16 { return result }
        var offset = 16
        for _ in 0..<number(8, 2) where offset + 32 <= page.count {
            if let access = AsymmetricAccess(rawValue: page[offset + 16] & 0xF) { result[number(offset, 4)] = access }
            // Groups only were asked for; one that names its namespaces all the same is skipped over.
            offset += 32 + 4 * Int(number(offset + 4, 4))
        }
        return result
    }
}

extension NVMeController {
    /// How the groups of namespaces are reached through it; empty where it does not report that.
    func accesses() async throws(NVMeError) -> [UInt32: AsymmetricAccess] {
        if !identity.reportsAsymmetricAccess { return [:] }
        // RGO: no identifiers of namespaces. At most 1,024 groups are looked at.
        let count = Int(min(max(1, identity.asymmetricGroupCount), 1024))
        return AsymmetricAccess.groups(in: try await logPage(0x0C, byteCount: 16 + 32 * count, specific: 1))
    }
}
