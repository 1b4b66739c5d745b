"""Instructions of a kernel in machine code, by straight pieces of it; no device is needed.

`python -m benchmarks.gpu.instructions "log_rows<float, float, 16>" [90]` needs CuPy with its compiler and `nvdisasm`
(`pip install nvidia-cuda-nvdisasm`) on the path. The names of kernels are those of `elastic_ot.backends.gpu.KERNELS`.
With 16 columns a thread, the piece with 16 MUFU.EX2 and the loads from shared memory (LDS.128) is what a row costs.
"""

import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from elastic_ot.backends import gpu

LEAST = 32  # instructions of a piece that is shown
LABEL, INSTRUCTION = re.compile(r"^(\.L_x_\d+):"), re.compile(r"\s+/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+\s+)?([A-Z0-9_.]+)")


def compiled(kernel: str, architecture: str) -> bytes:
    """A cubin with nothing but this kernel and those that are no templates."""
    from cupy.cuda import nvrtc

    program = nvrtc.createProgram(gpu.source(), "kernels", [], [])
    nvrtc.addNameExpression(program, kernel)
    nvrtc.compileProgram(program, [*gpu.OPTIONS, f"-arch=sm_{architecture}"])
    return bytes(nvrtc.getCUBIN(program)) + b"\0"  # CuPy leaves out the last byte


def pieces(listing: str) -> Iterator[tuple[str, Counter[str]]]:
    """Labels, and how often each instruction stands up to the next one."""
    label, found = "start", Counter[str]()
    for line in listing.splitlines():
        if match := LABEL.match(line):
            yield label, found
            label, found = match[1], Counter[str]()
        elif match := INSTRUCTION.match(line):
            found[match[1]] += 1
    yield label, found


def main() -> None:
    """Of the kernel named on the command line."""
    kernel, architecture = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "90"
    with tempfile.TemporaryDirectory() as folder:
        cubin = Path(folder, "kernel.cubin")
        cubin.write_bytes(compiled(kernel, architecture))
        listing = subprocess.run(["nvdisasm", "-c", cubin], check=True, capture_output=True, text=True).stdout
    name = kernel.split("<")[0]
    section = next(part for part in listing.split("//---") if f".text._Z{len(name)}{name}" in part)
    for label, found in pieces(section):
        if found.total() >= LEAST:
            print(f"{label}: {found.total()}", ", ".join(f"{k} {v}" for k, v in found.most_common(20)))


if __name__ == "__main__":
    main()
