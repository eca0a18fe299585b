import SegmentService

/// A page of metrics in Prometheus' text format, written from top to bottom.
struct Exposition {
    /// The media type of such a page.
    static let contentType = "text/plain; version=0.0.4; charset=utf-8"

    /// What a metric is to Prometheus.
    enum Kind: String { case counter, gauge, histogram }

    private(set) var bytes: [UInt8] = []
    private var family = ""

    init() { bytes.reserveCapacity(32 * 1024) }

    /// Begins a metric; its samples follow.
    mutating func family(_ name: String, _ kind: Kind, _ help: String) {
        family = name
        bytes += "# HELP \(name) \(help)\n# TYPE \(name) \(kind.rawValue)\n".utf8
    }

    /// A sample of the metric begun last.
    ///
    /// - Parameters:
    ///   - labels: Names and values; none of the values needs to be escaped.
    ///   - value: A number as Prometheus reads it.
    mutating func sample(_ labels: KeyValuePairs<StaticString, String>, _ value: some Number) {
        append("", labels, value.text)
    }

    /// The one sample of a metric without labels.
    mutating func sample(_ value: some Number) { append("", [:], value.text) }

    /// The samples of a histogram of durations, in seconds.
    mutating func histogram(
        _ labels: KeyValuePairs<StaticString, String>, _ histogram: Histogram
    ) {
        // The bounds are said once in each line, so they are written out once for all.
        var count = 0
        let counts = histogram.counts
        for (bound, own) in zip(Self.bounds, counts) {
            count += own
            append("_bucket", labels, "\(count)", bound: bound)
        }
        count += counts.last ?? 0
        append("_bucket", labels, "\(count)", bound: "+Inf")
        append("_sum", labels, seconds(histogram.sum))
        append("_count", labels, "\(count)")
    }

    private static let bounds = Histogram.bounds.map(seconds)

    private mutating func append(
        _ suffix: String, _ labels: KeyValuePairs<StaticString, String>, _ value: String,
        bound: String? = nil
    ) {
        bytes += family.utf8
        bytes += suffix.utf8
        var mark = "{"
        for (name, value) in labels {
            bytes += "\(mark)\(name)=\"\(value)\"".utf8
            mark = ","
        }
        if let bound {
            bytes += "\(mark)le=\"\(bound)\"".utf8
            mark = ","
        }
        bytes += "\(mark == "," ? "} " : " ")\(value)\n".utf8
    }
}

/// A number of a sample.
protocol Number { var text: String { get } }

extension Int: Number { var text: String { String(self) } }

/// A duration or an instant, which Prometheus wants in seconds.
struct Seconds: Number {
    let nanoseconds: UInt64
    var text: String { seconds(nanoseconds) }
}

/// Nanoseconds as seconds, exactly.
func seconds(_ nanoseconds: UInt64) -> String {
    let fraction = String(nanoseconds % 1_000_000_000)
    var digits = String(repeating: "0", count: 9 - fraction.utf8.count) + fraction
    while digits.last == "0" { digits.removeLast() }
    let whole = String(nanoseconds / 1_000_000_000)
    return digits.isEmpty ? whole : "\(whole).\(digits)"
}
