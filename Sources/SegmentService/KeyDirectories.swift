import SharedMemory

extension KeyEnvironment {
    /// Refuses a System V key whose file lies elsewhere than below the directories where Qt puts
    /// such files, and those that the operator added.
    ///
    /// Otherwise whoever may create and remove segments could make and remove files anywhere, and
    /// whoever may attach could find out which files there are.
    ///
    /// - Throws: ``ServiceError`` with `.permissionDenied`.
    func requireKeyDirectory(of key: NativeKey) throws(ServiceError) {
        guard case .systemV = key.type, keyDirectory(of: key) == nil else { return }
        let directories = keyDirectories.joined(separator: ", ")
        throw ServiceError(
            .permissionDenied,
            "the key file of \(key) lies outside \(directories); --key-dir adds a directory")
    }

    /// Refuses a System V key whose file, or a directory on the way to it, is a symbolic link:
    /// anybody may have put one below a directory where everybody can.
    ///
    /// - Throws: ``ServiceError`` with `.permissionDenied`.
    func requireNoLinks(to name: SegmentName) throws(ServiceError) {
        guard case .key(let key) = name, case .systemV = key.type else { return }
        try requireKeyDirectory(of: key)
        guard let directory = keyDirectory(of: key), hasLink(key.value, below: directory) else {
            return
        }
        throw ServiceError(
            .permissionDenied, "a symbolic link is on the way to the key file of \(key)")
    }

    private func keyDirectory(of key: NativeKey) -> String? {
        // Most lie here, and to know that nobody need ask the file system.
        if isPath(key.value, below: temporaryLocation) { return temporaryLocation }
        return keyDirectories.first { isPath(key.value, below: $0) }
    }
}
