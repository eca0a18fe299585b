import CSharedMemory
import Glibc

/// A system call that failed: which one, and the error number it left.
public struct SystemCallError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The call, as its manual page is named.
    public let call: String

    /// The error number, as in `errno`.
    public let number: CInt

    /// Makes the error of one call.
    ///
    /// - Parameters:
    ///   - call: The call, as its manual page is named.
    ///   - number: The error number it left in `errno`.
    public init(call: String, number: CInt) {
        self.call = call
        self.number = number
    }

    /// The call, the name of the error and the system's text for it.
    public var description: String {
        "\(call): \(Self.name(of: number)) (\(Self.text(of: number)))"
    }

    /// The name that the manual pages give an error number, `ENOENT` for instance.
    ///
    /// - Parameter number: An error number.
    /// - Returns: The name, or the number itself where there is none.
    public static func name(of number: CInt) -> String {
        guard let name = unsafe csharedmemory_error_name(number) else { return "errno \(number)" }
        return unsafe String(cString: name)
    }

    /// The system's sentence for an error number.
    static func text(of number: CInt) -> String {
        guard let text = unsafe csharedmemory_error_text(number) else { return "unknown error" }
        return unsafe String(cString: text)
    }
}

/// Makes a system call that answers -1 on failure, again while a signal interrupts it.
@inline(__always)
@discardableResult
func systemCall<Answer: FixedWidthInteger & SignedInteger>(
    _ name: StaticString, _ call: () -> Answer
) throws(SystemCallError) -> Answer {
    while true {
        let answer = call()
        guard answer == -1 else { return answer }
        let number = errno
        guard number == EINTR else {
            throw SystemCallError(call: name.description, number: number)
        }
    }
}
