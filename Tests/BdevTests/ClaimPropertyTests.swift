import Bdev
import Reactors
import SimulatedReactors
import Testing

/// The rules of claims, as few words as they take. Descriptors are known by their numbers.
private struct ClaimModel {
    struct Opened {
        var mode: BdevDescriptor.Mode
        var claim: ClaimKind?
    }

    var opened: [Int: Opened] = [:]

    private var claims: [ClaimKind] { opened.values.compactMap(\.claim) }

    func canOpen(_ mode: BdevDescriptor.Mode) -> BdevError.Code? {
        mode == .readWrite && !claims.isEmpty ? .claimed : nil
    }

    func canClaim(_ kind: ClaimKind, _ number: Int) -> BdevError.Code? {
        let own = opened[number]!
        if own.claim != nil || claims.contains(where: { $0.description != kind.description }) { return .claimed }
        let outsiders = opened.filter { $0.key != number && $0.value.mode == .readWrite && $0.value.claim == nil }
        switch kind {
        case .exclusiveWrite, .readManyWriteOne: return claims.isEmpty && outsiders.isEmpty ? nil : .claimed
        case .readManyWriteNone: return own.mode == .readWrite ? .invalidArgument : outsiders.isEmpty ? nil : .claimed
        case .readManyWriteShared(let key):
            if key == 0 { return .invalidArgument }
            return outsiders.isEmpty && claims.allSatisfy { $0 == kind } ? nil : .claimed
        }
    }

    mutating func claim(_ kind: ClaimKind, _ number: Int) {
        opened[number]!.claim = kind
        if kind != .readManyWriteNone { opened[number]!.mode = .readWrite }
    }

    /// What must be so at any time: two writers share a claim, or nobody has claimed anything.
    var violation: String? {
        if Set(claims).count > 1 { return "claims of different kinds or keys: \(claims)" }
        guard let kind = claims.first else { return nil }
        let claimers = opened.values.filter { $0.claim != nil }
        switch kind {
        case .exclusiveWrite, .readManyWriteOne: return claimers.count == 1 ? nil : "\(claimers.count) claimers"
        case .readManyWriteNone: return claimers.contains { $0.mode == .readWrite } ? "a claimer writes" : nil
        case .readManyWriteShared: return claimers.contains { $0.mode == .readOnly } ? "a claimer cannot write" : nil
        }
    }
}

struct ClaimPropertyTests {
    private static let kinds: [ClaimKind] = [
        .exclusiveWrite, .readManyWriteOne, .readManyWriteNone, .readManyWriteShared(key: 1),
        .readManyWriteShared(key: 2), .readManyWriteShared(key: 0),
    ]

    @Test(arguments: UInt64(0)..<60)
    func `random opens, claims, releases and closes agree with the model`(seed: UInt64) throws {
        try simulate(seed: seed) { here, scene in
            var random = SeededRandom(seed: seed), model = ClaimModel()
            var descriptors: [Int: BdevDescriptor] = [:], channels: [Int: BdevChannel] = [:]
            let engine = scene.engine, host = scene.module.host.value
            // More sharing, fewer refusals, in some of the runs.
            let kinds = seed % 3 == 0 ? Self.kinds : [Self.kinds[Int(seed % 6)], Self.kinds[2 + Int(seed % 2)]]
            for step in 0..<200 {
                let what = "seed \(seed), step \(step)"
                let number = model.opened.keys.sorted().randomElement(using: &random)
                switch (Int.random(in: 0..<8, using: &random), number) {
                case (0...2, _) where model.opened.count < 6:
                    let mode = Bool.random(using: &random) ? BdevDescriptor.Mode.readOnly : .readWrite
                    let opened = Shared<BdevDescriptor?>(nil)
                    let refusal = await code { () throws(BdevError) in
                        opened.value = try await engine.open("disk", mode: mode)
                    }
                    #expect(refusal == model.canOpen(mode), "\(what): open \(mode)")
                    guard let descriptor = opened.value else { break }
                    descriptors[step] = descriptor
                    channels[step] = try await descriptor.channel(on: here.reactor)
                    model.opened[step] = ClaimModel.Opened(mode: mode)
                case (3...4, let number?):
                    let kind = kinds.randomElement(using: &random)!, descriptor = descriptors[number]!
                    let expected = model.canClaim(kind, number)
                    let refusal = await code { () throws(BdevError) in try await host.claim(descriptor, kind) }
                    #expect(refusal == expected, "\(what): \(kind) by \(number) in \(model.opened)")
                    if expected == nil { model.claim(kind, number) }
                case (5, let number?):
                    let descriptor = descriptors[number]!, hasClaim = model.opened[number]!.claim != nil
                    let refusal = await code { () throws(BdevError) in try await host.release(descriptor) }
                    #expect(refusal == (hasClaim ? nil : .invalidArgument), "\(what): release \(number)")
                    model.opened[number]!.claim = nil
                case (6...7, let number?):
                    await descriptors.removeValue(forKey: number)!.close()
                    channels[number] = nil
                    model.opened[number] = nil
                default: break
                }
                #expect(model.violation == nil, "\(what)")
                let claims = try await engine.info("disk").claims.map(\.kind)
                #expect(claims.count == model.opened.values.count { $0.claim != nil }, "\(what)")
                for (number, opened) in model.opened {
                    #expect(descriptors[number]!.mode == opened.mode, "\(what): mode of \(number)")
                    let refusal = await channels[number]!.writeOnce(at: 0)
                    #expect(refusal == (opened.mode == .readWrite ? nil : .readOnly), "\(what): write by \(number)")
                }
            }
            for descriptor in descriptors.values { await descriptor.close() }
            #expect(try await engine.info("disk").claims == [], "seed \(seed)")
        }
    }
}
