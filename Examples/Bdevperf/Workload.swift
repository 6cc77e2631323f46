import Bdev

/// What `-w` names.
enum Workload: String, CaseIterable {
    case read, write, randread, randwrite, rw, randrw, verify, reset, unmap, flush
    case writeZeroes = "write_zeroes"

    static var names: String { allCases.map(\.rawValue).joined(separator: ", ") }

    var isRandom: Bool {
        switch self {
        case .randread, .randwrite, .randrw, .reset: true
        case .read, .write, .rw, .verify, .unmap, .flush, .writeZeroes: false
        }
    }

    var isMixed: Bool { self == .rw || self == .randrw }

    /// What the bdev must be able to do.
    var types: [IOType] {
        switch self {
        case .read, .randread: [.read]
        case .write, .randwrite: [.write]
        case .rw, .randrw, .verify: [.read, .write]
        case .reset: [.read, .reset]
        case .unmap: [.unmap]
        case .flush: [.flush]
        case .writeZeroes: [.writeZeroes]
        }
    }

    /// The type of an I/O without data; nil for reads and writes.
    var plainType: IOType? {
        switch self {
        case .unmap: .unmap
        case .flush: .flush
        case .writeZeroes: .writeZeroes
        case .read, .write, .randread, .randwrite, .rw, .randrw, .verify, .reset: nil
        }
    }
}

/// How the I/O is submitted: `--api`.
enum API: String, CaseIterable {
    case async, batch, engine, global

    static var names: String { allCases.map(\.rawValue).joined(separator: ", ") }
}
