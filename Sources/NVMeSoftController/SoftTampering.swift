import NVMeDriver

/// Alters what a controller answers, as a string of bytes says: what a fuzzer plays with.
///
/// Each answer takes a byte that says how much of it is altered, and then as many as that needs. A script that has been
/// used up alters nothing.
struct SoftTampering {
    private let script: [UInt8]
    private var place = 0

    init(_ script: [UInt8] = []) { self.script = script }

    private mutating func next() -> UInt8 {
        if place == script.count { return 0 }
        defer { place += 1 }
        return script[place]
    }

    private mutating func next16() -> UInt16 { UInt16(next()) | UInt16(next()) << 8 }

    /// A data structure: up to seven of its bytes, each by its place and its new value.
    mutating func alter(_ data: inout DataWriter) {
        for _ in 0..<(next() & 7) {
            let place = Int(next16()) % data.bytes.count
            data.put(next(), at: place)
        }
    }

    /// A completion: bits 0 to 2 of the first byte say whether its identifier, its status and its result are others.
    mutating func alter(_ identifier: inout UInt16, _ completion: inout NVMeCompletion) {
        let what = next()
        if what & 1 != 0 { identifier = next16() }
        if what & 2 != 0 { completion.status = NVMeStatus(rawValue: next16()) }
        if what & 4 != 0 { completion.result = UInt64(next16()) | UInt64(next16()) << 16 }
    }
}
