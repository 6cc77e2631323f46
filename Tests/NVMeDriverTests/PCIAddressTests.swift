import NVMeDriver
import Testing

@Suite("A PCI address")
struct PCIAddressTests {
    @Test(arguments: [
        ("0000:3b:00.0", "0000:3b:00.0"), ("0:3b:0.0", "0000:3b:00.0"), ("3b:00.0", "0000:3b:00.0"),
        ("3b:0.7", "0000:3b:00.7"), ("0001:02:1f.7", "0001:02:1f.7"), ("0001:02:1f", "0001:02:1f.0"),
        ("02:1f", "0000:02:1f.0"), ("02.1f", "0000:02:1f.0"), ("02.1f.3", "0000:02:1f.3"),
        ("0001.02.1f.3", "0001:02:1f.3"), ("10000:e1:00.0", "10000:e1:00.0"), ("FF:1F.7", "0000:ff:1f.7"),
        ("0:0:0.0", "0000:00:00.0"),
    ])
    func `is read in all its forms and said in one`(text: String, whole: String) throws {
        let address = try #require(PCIAddress(text))
        #expect(address.description == whole)
        #expect(PCIAddress(address.description) == address)
    }

    @Test(arguments: [
        "", "3b", ":", "::.", "3b:", ":00.0", "0000:3b:00.", "0000:3b:20.0", "0000:3b:00.8", "0000:100:00.0",
        "100000000:00:00.0", "0000:3b:00:0", "0000.3b:00.0", "3b:00.0 ", " 3b:00.0", "+1:00.0", "-1:00.0",
        "0x3b:00.0", "3b:g0.0", "0000:3b:00.0/..", "0000:3b:00.0.0", "nvme0",
    ])
    func `is nothing else`(text: String) { #expect(PCIAddress(text) == nil) }

    @Test func `has an order: domain, bus, device, function`() throws {
        let texts = ["0000:01:00.0", "0000:01:00.1", "0000:01:02.0", "0000:0a:00.0", "0001:00:00.0"]
        let addresses = texts.compactMap { PCIAddress($0) }
        #expect(addresses.reversed().sorted() == addresses)
    }
}
