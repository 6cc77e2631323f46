import CLinux
import Reactors
import SystemPackage

// SAFETY (below): strings and variables are lent for the time of one call; memory to be mapped is the caller's promise.

/// The calls of VFIO, for code that has no addresses.
enum VFIOCalls {
    static func openContainer() throws(Errno) -> FileDescriptor { try descriptor(clinux_vfio_open_container()) }

    static func hasIOMMU(_ container: FileDescriptor) -> Bool {
        clinux_vfio_has_iommu(container.rawValue)
    }

    /// A group, or a device that is a file.
    static func open(_ path: String) throws(Errno) -> FileDescriptor {
        try descriptor(unsafe clinux_file_open(path, CLINUX_OPEN_WRITE.rawValue))
    }

    static func isViable(_ group: FileDescriptor) throws(Errno) -> Bool {
        try check(clinux_vfio_group_is_viable(group.rawValue)) == 1
    }

    static func join(_ group: FileDescriptor, _ container: FileDescriptor) throws(Errno) {
        try check(clinux_vfio_join(group.rawValue, container.rawValue))
    }

    static func setIOMMU(_ container: FileDescriptor) throws(Errno) {
        try check(clinux_vfio_set_iommu(container.rawValue))
    }

    static func setNoIOMMU(_ container: FileDescriptor) throws(Errno) {
        try check(clinux_vfio_set_no_iommu(container.rawValue))
    }

    /// Of memory that is in one piece and stays where it is.
    static func physicalAddress(of memory: IOMemory) throws(Errno) -> UInt64 {
        var address: UInt64 = 0
        try check(unsafe clinux_physical_address(memory.base, UInt64(memory.byteCount), &address))
        return address
    }

    /// Page sizes as a mask, and the addresses that can be used, if the kernel says.
    static func identifyIOMMU(
        _ container: FileDescriptor
    ) throws(Errno) -> (pageSizes: UInt64, ranges: [ClosedRange<UInt64>]) {
        var info = clinux_iommu_info()
        try check(unsafe clinux_vfio_identify_iommu(container.rawValue, &info))
        return answer(info)
    }

    private static func answer(_ info: clinux_iommu_info) -> (pageSizes: UInt64, ranges: [ClosedRange<UInt64>]) {
        let ranges = unsafe withUnsafeBytes(of: info.ranges) { bytes in
            unsafe Array(bytes.bindMemory(to: clinux_iommu_range.self).prefix(Int(info.range_count)))
        }
        return (info.page_sizes, ranges.filter { $0.first <= $0.last }.map { $0.first...$0.last })
    }

    /// Lets the devices of the container reach whole pages of memory, which stays where it is until it is unmapped.
    static func map(_ memory: IOMemory, at start: IOVA, _ container: FileDescriptor) throws(Errno) {
        try check(
            unsafe clinux_vfio_map(container.rawValue, memory.base, start.rawValue, UInt64(memory.byteCount)))
    }

    static func unmap(byteCount: Int, at start: IOVA, _ container: FileDescriptor) throws(Errno) {
        try check(clinux_vfio_unmap(container.rawValue, start.rawValue, UInt64(byteCount)))
    }

    // MARK: iommufd

    static func openIOMMUFD() throws(Errno) -> FileDescriptor { try descriptor(clinux_iommufd_open()) }

    static func makeSpace(_ iommufd: FileDescriptor) throws(Errno) -> UInt32 {
        var space: UInt32 = 0
        try check(unsafe clinux_iommufd_make_space(iommufd.rawValue, &space))
        return space
    }

    static func identify(
        _ space: UInt32, of iommufd: FileDescriptor
    ) throws(Errno) -> (pageSizes: UInt64, ranges: [ClosedRange<UInt64>]) {
        var info = clinux_iommu_info()
        try check(unsafe clinux_iommufd_identify(iommufd.rawValue, space, &info))
        return answer(info)
    }

    static func map(
        _ memory: IOMemory, at start: IOVA, in space: UInt32, of iommufd: FileDescriptor
    ) throws(Errno) {
        try check(
            unsafe clinux_iommufd_map(
                iommufd.rawValue, space, memory.base, start.rawValue, UInt64(memory.byteCount)))
    }

    static func unmap(
        byteCount: Int, at start: IOVA, in space: UInt32, of iommufd: FileDescriptor
    ) throws(Errno) {
        try check(clinux_iommufd_unmap(iommufd.rawValue, space, start.rawValue, UInt64(byteCount)))
    }

    static func bind(_ device: FileDescriptor, to iommufd: FileDescriptor) throws(Errno) {
        try check(clinux_iommufd_bind(iommufd.rawValue, device.rawValue))
    }

    static func attach(_ device: FileDescriptor, to space: UInt32) throws(Errno) {
        try check(clinux_iommufd_attach(space, device.rawValue))
    }

    // MARK: Devices

    static func openDevice(_ group: FileDescriptor, _ name: String) throws(Errno) -> FileDescriptor {
        try descriptor(unsafe clinux_vfio_open_device(group.rawValue, name))
    }

    static func canReset(_ device: FileDescriptor) throws(Errno) -> Bool {
        try check(clinux_vfio_can_reset(device.rawValue)) == 1
    }

    static func reset(_ device: FileDescriptor) throws(Errno) { try check(clinux_vfio_reset(device.rawValue)) }

    /// Sets bits of the command register (PCI Local Bus Specification 3.0, section 6.2.2).
    static func setCommandBits(_ bits: UInt16, _ device: FileDescriptor) throws(Errno) {
        var command: UInt16 = 0
        try check(unsafe clinux_vfio_read_configuration(device.rawValue, 4, &command, 2))
        command |= bits.littleEndian
        try check(unsafe clinux_vfio_write_configuration(device.rawValue, 4, &command, 2))
    }

    static func clearCommandBits(_ bits: UInt16, _ device: FileDescriptor) throws(Errno) {
        var command: UInt16 = 0
        try check(unsafe clinux_vfio_read_configuration(device.rawValue, 4, &command, 2))
        command &= ~bits.littleEndian
        try check(unsafe clinux_vfio_write_configuration(device.rawValue, 4, &command, 2))
    }

    static func vectorCount(_ device: FileDescriptor) throws(Errno) -> Int {
        Int(try check(clinux_vfio_vector_count(device.rawValue)))
    }

    static func setVectors(_ events: [FileDescriptor], _ device: FileDescriptor) throws(Errno) {
        let numbers = events.map(\.rawValue)
        try check(unsafe clinux_vfio_set_vectors(device.rawValue, numbers, UInt32(numbers.count)))
    }

    /// Old kernels cannot: nothing is asked then.
    static func setRequestEvent(_ event: FileDescriptor, _ device: FileDescriptor) {
        _ = clinux_vfio_set_request_event(device.rawValue, event.rawValue)
    }

    static func makeEvent() throws(Errno) -> FileDescriptor { try descriptor(clinux_event_create()) }

    static func take(_ event: FileDescriptor) -> UInt64 { clinux_event_take(event.rawValue) }

    /// Bytes that may be pinned; nil: as many as there are.
    static var lockedMemoryLimit: Int64? {
        let limit = clinux_locked_memory_limit()
        return limit < 0 || limit == .max ? nil : limit
    }

    private static func descriptor(_ result: Int32) throws(Errno) -> FileDescriptor {
        FileDescriptor(rawValue: try check(result))
    }

    @discardableResult
    private static func check(_ result: Int32) throws(Errno) -> Int32 {
        if result < 0 { throw Errno(rawValue: -result) }
        return result
    }
}

extension FileDescriptor {
    /// close(2); what it answers changes nothing.
    func abandon() { clinux_close(rawValue) }
}
