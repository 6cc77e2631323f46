import Testing

@testable import Reactors

@Suite struct CoreListTests {
    private func parsed(_ text: String, on tree: RecordedTree, allowed: [Int]? = nil) throws(ReactorError) -> [Int] {
        let topology = try tree.topology()
        return try CoreList(parsing: text).resolve(in: topology, allowed: allowed ?? topology.cores.map(\.number))
    }

    private func refusal(_ text: String, on tree: RecordedTree, allowed: [Int]? = nil) throws -> ReactorError {
        try #require(throws: ReactorError.self) { _ = try self.parsed(text, on: tree, allowed: allowed) }
    }

    @Test(arguments: [
        ("0", [0]), ("0,2", [0, 2]), ("0-3", [0, 1, 2, 3]), ("[0,2-3]", [0, 2, 3]), ("[5]", [5]), (" 3 , 1 ", [3, 1]),
        ("2-3,0", [2, 3, 0]), ("0x3", [0, 1]), ("0XA", [1, 3]),
        ("0x00000000000000000000000000000000f000", [12, 13, 14, 15]),
        ("numa:1", [4, 5, 6, 7, 12, 13, 14, 15]), ("cores", [0, 1, 2, 3, 4, 5, 6, 7]),
        ("one per core", [0, 1, 2, 3, 4, 5, 6, 7]),
        ("all", Array(0...15)),
    ])
    func `every way of writing cores is understood`(text: String, cores: [Int]) throws {
        #expect(try parsed(text, on: .twoSockets()) == cores)
    }

    @Test func `a mask may be longer than a machine word`() throws {
        let mask = "0x" + "1" + String(repeating: "0", count: 25)
        let error = try refusal(mask, on: .twoSockets())
        #expect(error.description.hasPrefix("core 100 does not exist"))
    }

    @Test(arguments: [
        "", " ", ",", "0,", "a", "-1", "+1", "0-", "-", "0--1", "1-2-3", "[0", "0]", "[]", "0x", "0x0", "0xg", "0x-1",
        "numa:", "numa:x",
        "numa:-1", "3-1", "0,0", "0-2,1", "99999999999999999999", "0-99999999", "9000", "１",
        "0x\(String(repeating: "f", count: 4000))",
    ])
    func `text without meaning is refused in one line`(text: String) throws {
        let error = try refusal(text, on: .twoSockets())
        #expect(error.code == .invalidCoreList, "\(error)")
        #expect(!error.description.contains("\n") && error.description.contains("; "))
    }

    @Test func `a core that does not exist is refused by name`() throws {
        let error = try refusal("1,7", on: .offline())
        #expect(error.code == .coreUnavailable)
        #expect(error.description == "core 7 does not exist: this machine has cores 0-3; choose among them")
    }

    @Test func `an offline core is refused by name`() throws {
        let error = try refusal("0-2", on: .offline())
        #expect(error.code == .coreUnavailable)
        #expect(
            error.description
                == "core 2 is offline; bring it online (/sys/devices/system/cpu/cpu2/online) or choose among 0-1"
        )
    }

    @Test func `a core outside the affinity is refused by name`() throws {
        let error = try refusal("0,1", on: .offline(), allowed: [0])
        #expect(error.code == .coreUnavailable)
        #expect(
            error.description
                == "core 1 is not allowed by this process's affinity (0); start it without taskset, or choose among 0")
    }

    @Test func `a core named twice is refused by name`() throws {
        #expect(try refusal("2,0-3", on: .twoSockets()).description == "core 2 is named twice; name each core once")
        let topology = try RecordedTree.twoSockets().topology()
        #expect(throws: ReactorError.self) { _ = try CoreList([1, 1]).resolve(in: topology, allowed: [1]) }
        #expect(throws: ReactorError.self) { _ = try CoreList([]).resolve(in: topology, allowed: [1]) }
        #expect(throws: ReactorError.self) { _ = try CoreList([-1]).resolve(in: topology, allowed: [1]) }
    }

    @Test func `a node takes part with the cores that may be used`() throws {
        #expect(try parsed("numa:1", on: .twoSockets(), allowed: [0, 5, 13]) == [5, 13])
        let none = try refusal("numa:1", on: .twoSockets(), allowed: [0, 2])
        #expect(
            none.description.contains("no core of NUMA node 1 (4-7,12-15)")
                && none.description.contains("affinity (0,2)"))
        let unknown = try refusal("numa:2", on: .twoSockets())
        #expect(unknown.description == "NUMA node 2 does not exist: this machine has nodes 0-1; choose among them")
    }

    @Test func `a node of memory only is refused`() throws {
        let tree = try RecordedTree.offline()
        for (path, text) in RecordedTree.node(1, cores: "", distance: "10 20", total: 1, free: 1) {
            try tree.write(text, to: path)
        }
        #expect(
            try refusal("numa:1", on: tree).description
                == "NUMA node 1 has no core that is online; choose a node with cores")
    }

    @Test func `one per core takes the first sibling that may be used`() throws {
        #expect(try parsed("cores", on: .twoSockets(), allowed: [8, 1, 9, 10]) == [1, 8, 10])
    }

    @Test func `the default is the first core that may be used`() throws {
        let topology = try RecordedTree.offline().topology()
        #expect(try CoreList.first.resolve(in: topology, allowed: [1, 2, 3]) == [1])
        let error = try #require(throws: ReactorError.self) {
            _ = try CoreList.first.resolve(in: topology, allowed: [2])
        }
        #expect(error.code == .coreUnavailable)
    }

    @Test func `a core list describes itself in the form that is parsed`() throws {
        for text in ["0-3", "3,1", "0,2-3", "numa:4", "cores", "all"] {
            #expect(try CoreList(parsing: text).description == text)
        }
        let literal: CoreList = [0, 2, 3]
        #expect(try literal == CoreList(parsing: "[0,2-3]") && literal == CoreList(parsing: "0xd"))
        #expect(CoreList.node(4) == (try CoreList(parsing: "numa:4")))
    }
}
