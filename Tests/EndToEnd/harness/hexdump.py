"""The canonical dump of `hexdump -C`, repeated lines squeezed."""


def hexdump(octets, offset=0):
    lines, previous, squeezing = [], None, False
    for start in range(0, len(octets), 16):
        row = octets[start:start + 16]
        if row == previous and len(row) == 16:
            if not squeezing:
                lines.append("*")
            squeezing = True
            continue
        previous, squeezing = row, False
        left = " ".join(f"{byte:02x}" for byte in row[:8])
        right = " ".join(f"{byte:02x}" for byte in row[8:])
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        lines.append(f"{offset + start:08x}  {left:<23}  {right:<23}  |{text}|")
    lines.append(f"{offset + len(octets):08x}")
    return "\n".join(lines) + "\n"
