extension BdevEngine {
    /// Opens a bdev whose blocks hold protection information for those who want data only: they see blocks without
    /// metadata, the layer makes the protection information of what is written and checks that of what is read.
    ///
    /// Everything moves through a buffer of the layer's own. A check that fails is `deviceFailed` with the NVMe status
    /// of the check.
    ///
    /// - Throws: `invalidArgument` for a bdev whose metadata is kept apart from the data or protects nothing; what
    ///   ``open(_:mode:)`` throws.
    public func openHidingMetadata(_ name: String, mode: BdevDescriptor.Mode = .readOnly) async throws(BdevError)
        -> BdevDescriptor
    {
        let bdev = try find(name)
        let geometry = bdev.geometry
        if geometry.metadataByteCount > 0 && (!geometry.isMetadataInterleaved || geometry.protection == nil) {
            throw BdevError(
                .invalidArgument, bdev: bdev.name,
                geometry.isMetadataInterleaved
                    ? "cannot hide metadata that is no protection information"
                    : "cannot hide metadata that is kept apart from the data",
                advice: "open it without hiding the metadata")
        }
        let descriptor = BdevDescriptor(bdev: bdev, mode: mode, hidesMetadata: geometry.metadataByteCount > 0)
        try await bdev.add(descriptor)
        return descriptor
    }
}
