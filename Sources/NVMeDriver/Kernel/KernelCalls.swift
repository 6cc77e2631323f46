import CLinux
import SystemPackage

// SAFETY (below): strings and buffers are lent for the time of one call.

/// The calls of the kernel's NVMe driver that are made one at a time, on the control path.
package enum KernelCalls {
    static func open(_ path: String, isExclusive: Bool = false) throws(Errno) -> FileDescriptor {
        do {
            // Without O_CREAT, O_EXCL claims a block device.
            return try FileDescriptor.open(
                FilePath(path), isExclusive ? .readOnly : .readWrite,
                options: isExclusive ? [.closeOnExec, .exclusiveCreate] : .closeOnExec)
        } catch {
            throw (error as? Errno) ?? .ioError
        }
    }

    /// The controller's identity, 4,096 bytes.
    static func identify(_ descriptor: FileDescriptor) throws(Errno) -> [UInt8] {
        var data = [UInt8](repeating: 0, count: 4096)
        let status = unsafe clinux_nvme_identify(descriptor.rawValue, 0, 1, &data)
        if status != 0 { throw status < 0 ? Errno(rawValue: -status) : .ioError }
        return data
    }

    /// What keeps this process from giving commands to the namespaces of `device`, or to the one that is meant; nil:
    /// nothing.
    package static func probe(_ device: KernelDevice, _ only: UInt32?) -> String? {
        if !clinux_ring_has_commands() { return "the kernel's io_uring takes no commands for devices (before 5.19)" }
        do throws(Errno) { try CommandRing.probe() } catch { return "the kernel refuses a ring for commands: \(error)" }
        do throws(Errno) {
            let file = try open(device.path)
            defer { file.abandon() }
            _ = try identify(file)
        } catch {
            return refusal(of: device.path, error)
        }
        for namespace in device.namespaces where only == nil || only == namespace.id {
            do throws(Errno) {
                let file = try open(namespace.genericPath)
                defer { file.abandon() }
                // Before 6.2 only root may give commands, whoever may open the file.
                let result = clinux_nvme_may_read(file.rawValue, namespace.id)
                if result < 0 { throw Errno(rawValue: -result) }
            } catch {
                return refusal(of: namespace.genericPath, error)
            }
        }
        return nil
    }

    private static func refusal(of path: String, _ cause: Errno) -> String {
        let who = cause == .permissionDenied || cause == .notPermitted ? "this user may not use it" : "\(cause)"
        return "\(path) takes no commands: \(who)"
    }
}
