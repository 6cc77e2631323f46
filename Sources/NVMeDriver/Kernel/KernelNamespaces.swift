import Logging
import Reactors
import SystemPackage

/// The character devices of a controller's namespaces, opened when first needed. Any thread.
final class KernelNamespaces: Sendable {
    struct File: Sendable {
        let descriptor: FileDescriptor
        /// Nothing else uses the namespace, as far as the kernel knows.
        let isWritable: Bool
    }

    private struct State {
        var files: [UInt32: File] = [:]
        /// Block devices that are held so that nobody else claims them, and files of namespaces that have gone.
        var held: [FileDescriptor] = []
        var isClosed = false
    }

    /// The only one that is used; nil: all of them.
    let only: UInt32?
    private let controller: String
    private let tree: SystemTree
    private let name: String
    private let logger: Logger
    private let state = ThreadLock(State())

    /// Opens all that are there.
    init(_ device: KernelDevice, only: UInt32?, name: String, tree: SystemTree, logger: Logger) {
        controller = device.name
        self.only = only
        self.tree = tree
        self.name = name
        self.logger = logger
        for namespace in device.namespaces { _ = file(of: namespace.id) }
    }

    /// Nil: the kernel has no such namespace, or does not let it be opened.
    func file(of id: UInt32) -> File? {
        if let only, only != id { return nil }
        return state.withLock { state in
            if let known = state.files[id] { return known }
            if state.isClosed { return nil }
            guard
                let namespace = KernelDevice.namespaces(of: controller, in: tree).first(where: { $0.id == id }),
                let descriptor = try? KernelCalls.open(namespace.genericPath)
            else { return nil }
            let file = File(descriptor: descriptor, isWritable: claim(namespace, &state))
            state.files[id] = file
            return file
        }
    }

    /// Has the kernel refuse the block device to all who mount or claim it.
    private func claim(_ namespace: KernelDevice.Namespace, _ state: inout State) -> Bool {
        do throws(Errno) {
            state.held.append(try KernelCalls.open(namespace.blockPath, isExclusive: true))
            return true
        } catch {
            if error == .resourceBusy {
                logger.notice("\(name): \(namespace.blockPath) is in use: namespace \(namespace.id) can only be read")
                return false
            }
            logger.notice("\(name): \(namespace.blockPath) cannot be kept from being mounted meanwhile: \(error)")
            return true
        }
    }

    /// Whether there is one that somebody else uses.
    var hasOneInUse: Bool { state.withLock { $0.files.values.contains { !$0.isWritable } } }

    /// It has gone; there may be another of that number. Its file stays open until the end, as others may be about to
    /// use it.
    func forget(_ id: UInt32) {
        state.withLock { state in
            if let file = state.files.removeValue(forKey: id) { state.held.append(file.descriptor) }
        }
    }

    /// What is there now: whatever changes about namespaces changes this.
    func look() -> [KernelDevice.Namespace] { KernelDevice.namespaces(of: controller, in: tree) }

    /// For users whom the kernel does not let ask for all: what Identify says in the list of active namespaces (CNS 2),
    /// and of a namespace's descriptors (CNS 3), from sysfs.
    func identify(_ structure: UInt8, _ id: UInt32) -> [UInt8]? {
        var data: [UInt8] = []
        func append(_ type: UInt8, _ value: [UInt8]) { data += [type, UInt8(value.count), 0, 0] + value }
        switch structure {
        case 2:
            for each in look() where each.id > id && (only == nil || only == each.id) {
                data += (0..<4).map { UInt8(truncatingIfNeeded: each.id >> (8 * $0)) }
            }
        case 3:
            guard let namespace = look().first(where: { $0.id == id }) else { return nil }
            let folder = "sys/class/block/\(namespace.block)"
            let uuid = tree.text("\(folder)/uuid").map(Self.bytes) ?? []
            // The kernel shows the NGUID where there is no UUID.
            if uuid.count == 16, uuid != tree.text("\(folder)/nguid").map(Self.bytes) { append(3, uuid) }
            append(4, [tree.text("\(folder)/queue/zoned") == "host-managed" ? 2 : 0])
        default: return nil
        }
        return Array((data + Array(repeating: 0, count: 4096)).prefix(4096))
    }

    private static func bytes(_ text: String) -> [UInt8] {
        let digits = text.compactMap(\.hexDigitValue)
        return stride(from: 0, to: digits.count - 1, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
    }

    func close() {
        let files = state.withLock { state in
            let files = state.held + state.files.values.map(\.descriptor)
            state = State(isClosed: true)
            return files
        }
        for file in files { file.abandon() }
    }
}
