extension BdevProperties {
    /// What a bdev is that hands its I/O on to the one `base` has open: the same blocks and the same kinds of I/O.
    ///
    /// Limits and alignment are not taken over: requests are split and copied where they have to be, in the bdev below,
    /// once. A boundary is, as advice.
    public init(name: String, passingOnTo base: BdevDescriptor, productName: String) {
        var geometry = base.geometry
        geometry.memoryAlignment = 1
        geometry.splitsAtWriteUnit = false
        geometry.splitsAtOptimalBoundary = false
        geometry.segmentCountLimit = 0
        geometry.segmentByteCountLimit = 0
        geometry.transferBlockCountLimit = 0
        geometry.unmapBlockCountLimit = 0
        geometry.writeZeroesBlockCountLimit = 0
        geometry.copyBlockCountLimit = 0
        let types = IOType.allCases.filter { base.supports($0) }.map(IOTypes.init)
        self.init(name: name, productName: productName, geometry: geometry, supportedTypes: IOTypes(types))
    }
}
