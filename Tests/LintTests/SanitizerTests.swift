import Testing

@Suite("The thread sanitizer") struct SanitizerTests {
    @Test(arguments: ["BdevTests", "NVMeDriverTests", "SimulatedReactorsTests"])
    func `is given every test of these that runs on real threads`(_ target: String) throws {
        let script = try SourceTree.text(of: "Scripts/sanitize")
        for path in SourceTree.files.map(\.path) where path.hasPrefix("Tests/\(target)/") {
            guard try SourceTree.text(of: path).contains("ReactorGroup(") else { continue }
            let suite = path.split(separator: "/").last!.dropLast(".swift".count)
            #expect(script.contains(suite), "name \(target).\(suite) in Scripts/sanitize, for it makes a ReactorGroup")
        }
    }
}
