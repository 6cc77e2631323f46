import CLinux
import SystemPackage

/// Who would suffer if a block device were written.
package enum DeviceSafety {
    /// Throws unless the block device at `path` is used by nobody and carries nothing that is known.
    package static func requireIdle(_ path: String) throws(FileError) {
        do {
            // Without O_CREAT: the kernel hands it out once, and not while it is mounted or part of another device.
            let descriptor = try FileCalls.open(path, .exclusive)
            try? descriptor.close()
        } catch {
            if error == .resourceBusy, let device = try? FileCalls.identify(path) { throw inUse(path, device) }
            throw FileError(
                error == .permissionDenied || error == .notPermitted ? .notPermitted : .system, path,
                "cannot be opened to see whether somebody uses it", cause: error,
                advice: "run as a user who may read it, or force it")
        }
        try requireNoSignature(path)
    }

    static func requireNoSignature(_ path: String) throws(FileError) {
        let found: String?
        do {
            // A descriptor of its own: libblkid reads pieces that direct I/O would refuse.
            let descriptor = try FileCalls.open(path, [])
            defer { try? descriptor.close() }
            found = try FileCalls.signature(descriptor)
        } catch {
            throw FileError(
                error == .permissionDenied || error == .notPermitted ? .notPermitted : .system, path,
                "cannot be examined for data before it is opened for writing", cause: error,
                advice: "run as a user who may read it, or say that signatures are to be ignored")
        }
        if let found {
            throw FileError(
                .carriesData, path, "carries data (\(found)) that writing would destroy",
                advice: "check the path; erase it (wipefs -a), or say that signatures are to be ignored")
        }
    }

    /// The error for a device that the kernel does not hand out exclusively.
    static func inUse(_ path: String, _ device: FileCalls.Information) -> FileError {
        if let place = mountPoint(
            major: device.major, minor: device.minor, table: FileCalls.text(at: "/proc/self/mountinfo"))
        {
            return FileError(.inUse, path, "is mounted on \(place)", advice: "unmount it, or open it read-only")
        }
        if let holder = DeviceTree.holder(major: device.major, minor: device.minor) {
            return FileError(
                .inUse, path, "is part of the device \(holder)", advice: "use that device, or take it apart")
        }
        return FileError(
            .inUse, path, "is in use: a partition of it may be mounted, or another program has claimed it",
            advice: "see lsblk, or open it read-only")
    }

    /// Where the device is mounted, from /proc/self/mountinfo (proc(5)): field 3 is the device, 5 the place.
    package static func mountPoint(
        major: UInt32, minor: UInt32, table: String?
    ) -> String? {
        let device = "\(major):\(minor)"
        for line in (table ?? "").split(separator: "\n") {
            let fields = line.split(separator: " ", maxSplits: 5)
            if fields.count >= 5, fields[2] == device { return unescaped(fields[4]) }
        }
        return nil
    }

    /// The kernel writes blanks and the like as a backslash and three octal digits.
    private static func unescaped(_ text: Substring) -> String {
        var bytes: [UInt8] = []
        var rest = Array(text.utf8)[...]
        while let byte = rest.popFirst() {
            if byte == UInt8(ascii: "\\"), rest.count >= 3,
                let code = UInt8(String(decoding: rest.prefix(3), as: UTF8.self), radix: 8)
            {
                bytes.append(code)
                rest.removeFirst(3)
            } else {
                bytes.append(byte)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}

/// Who holds a lock.
enum FileLocks {
    /// From /proc/locks (proc(5)): `1: FLOCK ADVISORY WRITE 4242 fd:00:131 0 EOF`, the device in hexadecimal.
    static func holder(
        of file: FileCalls.Information, table: String? = FileCalls.text(at: "/proc/locks")
    ) -> String? {
        for line in (table ?? "").split(separator: "\n") {
            let fields = line.split(separator: " ")
            guard fields.count >= 6, fields[1] == "FLOCK", let process = Int(fields[4]), process > 0 else { continue }
            let place = fields[5].split(separator: ":")
            guard place.count == 3, UInt32(place[0], radix: 16) == file.home_major,
                UInt32(place[1], radix: 16) == file.home_minor, UInt64(place[2]) == file.inode
            else { continue }
            let name = FileCalls.text(at: "/proc/\(process)/comm", limit: 64)?.split(separator: "\n").first
            return "process \(process)" + (name.map { " (\($0))" } ?? "")
        }
        return nil
    }
}

/// Block devices in sysfs.
enum DeviceTree {
    private static func directory(_ major: UInt32, _ minor: UInt32) -> String { "/sys/dev/block/\(major):\(minor)" }

    /// Of a partition, that of its disk.
    static func queue(major: UInt32, minor: UInt32) -> String {
        let own = directory(major, minor)
        return FileCalls.text(at: "\(own)/partition", limit: 16) == nil ? "\(own)/queue" : "\(own)/../queue"
    }

    /// A device that is made of this one (device mapper, md); nil: none.
    static func holder(major: UInt32, minor: UInt32) -> String? {
        FileCalls.entry(ofDirectory: "\(directory(major, minor))/holders")
    }

    /// The node of the nearest device above that has one. Nil: none says.
    static func node(major: UInt32, minor: UInt32) -> Int? {
        var place = directory(major, minor)
        // Namespace, controller, PCI function: a few steps suffice.
        for _ in 0..<8 {
            if let node = FileCalls.integer(at: "\(place)/numa_node") { return node < 0 ? nil : Int(node) }
            place += "/.."
        }
        return nil
    }
}
