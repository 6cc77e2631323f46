import NVMeDriver
import Testing

@Suite("What a namespace says of itself")
struct IdentifyNamespaceTests {
    /// Formats whose block size tells them apart: 2^(9 + index modulo 8) bytes.
    private func identity(last: UInt8, unique: UInt8 = 0) -> IdentifyNamespace {
        var data = [UInt8](repeating: 0, count: 4096)
        data[25] = last
        data[82] = unique
        for index in 0..<64 { data[128 + 4 * index + 2] = UInt8(9 + index % 8) }
        return IdentifyNamespace(data: data)
    }

    @Test(arguments: [
        (UInt8(0), UInt8(0), 1), (1, 0, 2), (15, 0, 16), (1, 3, 5), (62, 1, 64), (63, 0, 64), (63, 9, 64),
        (255, 255, 64),
    ])
    func `counts its formats, the unique ones too, up to the 64 there is room for`(
        last: UInt8, unique: UInt8, count: Int
    ) {
        let found = identity(last: last, unique: unique)
        #expect(found.formatCount == count)
        #expect(found.formats.map(\.dataByteCount) == (0..<count).map { 512 << ($0 % 8) })
    }
}
