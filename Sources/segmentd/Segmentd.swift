@main
struct Segmentd {
    static func main() {}
}
