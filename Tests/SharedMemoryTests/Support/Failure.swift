import SharedMemory
import Testing

/// The code of the error that `body` throws; `nil` when it throws none.
func code<Result: ~Copyable>(_ body: () throws -> Result) -> SegmentError.Code? {
    do {
        _ = try body()
        return nil
    } catch {
        return (error as? SegmentError)?.code ?? .unknownError
    }
}

/// Expects an error with a code.
func expectFailure<Result: ~Copyable>(
    _ expected: SegmentError.Code, sourceLocation: SourceLocation = #_sourceLocation,
    _ body: () throws -> Result
) {
    let found = code(body)
    #expect(found == expected, sourceLocation: sourceLocation)
}
