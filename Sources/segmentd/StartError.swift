import Glibc

/// A reason for which the program does not start: one line, and the status it exits with.
struct StartError: Error, CustomStringConvertible {
    /// What the program was told cannot be meant.
    static func usage(_ description: String) -> StartError {
        StartError(description: description, status: EX_USAGE)
    }

    /// What it was told is clear, but cannot be had.
    static func failure(_ description: String) -> StartError {
        StartError(description: description, status: EXIT_FAILURE)
    }

    /// The sentence of the system for an error number.
    static func reason(_ number: CInt) -> String {
        unsafe strerror(number).map { unsafe String(cString: $0) } ?? "error \(number)"
    }

    let description: String
    let status: CInt
}
