import CLinux
import NVMeDriver
import Reactors
import SystemPackage
import Testing

@Suite("The way to a controller")
struct KernelAccessTests {
    private func drive(driver: String? = "nvme", group: Int? = 7) throws -> PCITree {
        let tree = try PCITree()
        try tree.add("0000:3b:00.0", node: 1, driver: driver, group: group)
        if driver == "nvme" {
            try tree.write("", to: "sys/bus/pci/devices/0000:3b:00.0/nvme/nvme2/nvme2n1/size")
            let folder = "sys/class/nvme/nvme2"
            try tree.write("live\n", to: "\(folder)/state")
            try tree.write("0000:3b:00.0\n", to: "\(folder)/address")
            try tree.write("1\n", to: "\(folder)/numa_node")
            for (entry, id, size) in [("nvme2n1", 1, 4096), ("nvme0c2n3", 7, 8192)] {
                try tree.write("\(id)\n", to: "\(folder)/\(entry)/nsid")
                try tree.write("\(size)\n", to: "\(folder)/\(entry)/size")
            }
            try tree.write("259:0\n", to: "sys/class/block/nvme2n1/dev")
            try tree.write("1\n", to: "sys/class/block/nvme0n3/queue/io_poll")
        }
        return tree
    }

    private func choice(_ address: String, _ tree: PCITree, obstacle: String? = nil) throws -> AccessChoice {
        try AccessChoice.make(#require(NVMeAddress(address)), in: tree.system) { _, _ in obstacle }
    }

    @Test(arguments: [
        ("0000:3b:00.0", "pci(0000:3b:00.0)"), ("3b:00.0", "pci(0000:3b:00.0)"),
        ("/dev/nvme0", "controller(\"nvme0\")"),
        ("/dev/nvme12n3", "namespace(\"nvme12n3\")"), ("/dev/ng0n1", "namespace(\"nvme0n1\")"), ("/dev/ng0", nil),
        ("/dev/nvme0n1p1", nil), ("/dev/nvme", nil), ("/dev/sda", nil), ("nvme0", nil), ("/dev/nvme0c1n1", nil),
    ])
    func `an address is of the PCI bus, of a controller or of a namespace`(text: String, place: String?) {
        #expect(NVMeAddress(text).map { "\($0.place)" } == place)
        if place != nil, text.hasPrefix("/") { #expect(NVMeAddress(text)?.description == text) }
    }

    @Test func `sysfs tells of the kernel's namespaces, also behind one of several paths`() throws {
        let tree = try drive()
        let device = try #require(KernelDevice("nvme2", in: tree.system))
        #expect(device.namespaces.map(\.id) == [1, 7])
        #expect(device.namespaces.map(\.genericPath) == ["/dev/ng2n1", "/dev/ng0n3"])
        #expect(device.namespaces.map(\.blockPath) == ["/dev/nvme2n1", "/dev/nvme0n3"])
        #expect(device.pciAddress == PCIAddress("3b:00.0"))
        #expect(device.node == 1)
        #expect(device.hasPolledQueues)
    }

    @Test(arguments: ["dead\n", "deleting\n", "deleting (no IO)\n", nil])
    func `one that is dead or going is gone`(state: String?) throws {
        let tree = try drive()
        let isGone = KernelDevice.isGone("nvme2", in: tree.system)
        #expect(!isGone)
        if let state { try tree.write(state, to: "sys/class/nvme/nvme2/state") }
        let name = state == nil ? "nvme3" : "nvme2"
        let isGoneNow = KernelDevice.isGone(name, in: tree.system)
        #expect(isGoneNow)
        #expect(KernelDevice(name, in: tree.system) == nil)
    }

    @Test func `what VFIO has is driven directly`() throws {
        let found = try choice("3b:00.0", drive(driver: "vfio-pci"))
        #expect(found.access == ControllerAccess(.direct))
        #expect(found.device == nil)
    }

    @Test func `what the kernel's driver has is passed commands, and the reason is told`() throws {
        let tree = try drive()
        var found = try choice("3b:00.0", tree)
        #expect(found.access.way == .passThrough)
        #expect(found.access.description == "pass-through, since the kernel's driver nvme has the device")
        #expect(found.device?.name == "nvme2" && found.namespace == nil)
        try tree.write("30 1 259:0 / /mnt rw - ext4 /dev/nvme2n1 rw\n", to: "proc/self/mountinfo")
        found = try choice("3b:00.0", tree)
        #expect(found.access.description.contains("/dev/nvme2n1 is mounted on /mnt"), "\(found.access)")
        found = try choice("3b:00.0", drive(group: nil))
        #expect(found.access.description.contains("no IOMMU looks after it"), "\(found.access)")
    }

    @Test func `where commands cannot be passed there are block devices, and both reasons are told`() throws {
        let found = try choice("3b:00.0", drive(), obstacle: "/dev/ng2n1 takes no commands")
        #expect(found.access.way == .blockDevice)
        #expect(
            found.access.reason == "the kernel's driver nvme has the device, and /dev/ng2n1 takes no commands")
    }

    @Test func `a device file is of the kernel's driver, and names one namespace or all`() throws {
        let tree = try drive()
        #expect(try choice("/dev/nvme2", tree).namespace == nil)
        #expect(try choice("/dev/ng0n3", tree).namespace == 7)
        #expect(try choice("/dev/nvme2n1", tree).namespace == 1)
        #expect(try choice("/dev/nvme2n1", tree).access.reason == "a device of the kernel's driver was named")
        for missing in ["/dev/nvme3", "/dev/ng2n3"] {
            let error = #expect(throws: NVMeError.self) { _ = try choice(missing, tree) }
            #expect(error?.code == .noSuchDevice)
            #expect(error?.device == missing)
        }
    }

    @Test(arguments: [nil, "uio_pci_generic"])
    func `what neither VFIO nor the kernel's driver has is left alone`(driver: String?) throws {
        let error = #expect(throws: NVMeError.self) { _ = try choice("3b:00.0", drive(driver: driver)) }
        #expect(error?.code == (driver == nil ? .notSupported : .inUse))
        #expect(error?.advice?.contains("vfio-pci") == true)
    }

    @Test func `a command without the kernel's answer ends with the status that is nearest`() {
        let statuses: [(Errno, String)] = [
            (.interrupted, "command aborted by host"), (.operationNotSupportedByDevice, "invalid namespace or format"),
            (.invalidArgument, "invalid field in command"), (.permissionDenied, "operation denied"),
            (.noMemory, "internal error"),
        ]
        for (cause, name) in statuses {
            let status = NVMeStatus(of: cause)
            #expect(status.description.hasPrefix(name), "\(cause): \(status)")
        }
    }
}

@Suite("A command for the kernel")
struct KernelCommandTests {
    /// What the kernel would be given: struct nvme_uring_cmd as words, and the operation's number.
    private func translate(_ command: SubmissionQueueEntry, isAdmin: Bool = false) -> (
        words: [UInt32], operation: UInt32
    ) {
        var words = [UInt32](repeating: 0, count: 18), entry = command
        // SAFETY: both are as long as the function says.
        let operation = unsafe clinux_nvme_translate(&entry, isAdmin, 5, &words)
        return (words, operation & 0xFF)
    }

    private func command() -> SubmissionQueueEntry {
        var command = SubmissionQueueEntry(opcode: 0x02, namespaceID: 3)
        command.commandIdentifier = 0x1234
        (command.cdw2, command.cdw3, command.cdw10, command.cdw11) = (2, 3, 10, 11)
        (command.cdw12, command.cdw13, command.cdw14, command.cdw15) = (12, 13, 14, 15)
        return command
    }

    @Test func `has its words, and no identifier or flags of the driver's`() {
        let (words, operation) = translate(command())
        #expect(words == [2, 3, 2, 3, 0, 0, 0, 0, 0, 0, 10, 11, 12, 13, 14, 15, 5, 0])
        #expect(operation == 0x80)
        #expect(translate(command(), isAdmin: true).operation == 0x82)
    }

    @Test func `says where its data and its metadata are, and how long`() {
        var one = command()
        one.flags = 0x40
        one.metadataPointer = 0x1_2345_6788
        one.dataPointer1 = 0x7_0000_1000
        one.dataPointer2 = 65_536 | 1024 << 32
        let (words, operation) = translate(one)
        #expect(words[4...9] == [0x2345_6788, 1, 0x1000, 7, 1024, 65_536])
        #expect(operation == 0x80)
    }

    @Test func `names several stretches by how many there are`() {
        var several = command()
        several.flags = 0x40
        several.dataPointer1 = 0x7_0000_1000
        several.dataPointer2 = 3 * 16 | 8 << 32 | 0x30 << 56
        let (words, operation) = translate(several)
        #expect(words[6...9] == [0x1000, 7, 8, 3])
        #expect(operation == 0x81)
        #expect(translate(several, isAdmin: true).operation == 0x83)
    }

    @Test func `goes through a ring of wide entries, whose completions say what it is of`() throws {
        var made: OpaquePointer?
        // SAFETY (below): the ring is destroyed at the end; what it is given stays until then.
        guard unsafe clinux_ring_create(&made, 8, 16, CLINUX_RING_WIDE.rawValue | 1) == 0, let ring = unsafe made,
            clinux_ring_has_commands()
        else {
            print("SKIPPED: the kernel makes no ring for commands")
            return
        }
        defer { unsafe clinux_ring_destroy(ring) }
        // It takes any command, and does nothing.
        let null = try FileDescriptor.open(FilePath("/dev/null"), .readWrite)
        defer { try? null.close() }
        let event = clinux_event_create()
        defer { clinux_close(event) }
        #expect(unsafe clinux_ring_signal(ring, event) == 0)
        #expect(unsafe clinux_ring_create_file_table(ring, 4) == 0)
        #expect(unsafe clinux_ring_set_file(ring, 2, null.rawValue) == 0)
        var entry = command(), submitted: Int32 = 0
        for token in 0..<20 as Range<UInt64> {
            let slot: Int32 = token % 2 == 0 ? -1 : 2
            #expect(unsafe clinux_nvme_prepare(ring, &entry, false, null.rawValue, slot, -1, 0, token))
            var completions = [clinux_nvme_completion](repeating: .init(), count: 4)
            let count = unsafe clinux_nvme_turn(ring, &completions, 4, &submitted)
            #expect(count == 1 && submitted == 1)
            #expect(completions[0].user_data == token && completions[0].status == 0)
        }
        #expect(clinux_event_take(event) > 0)
    }
}
