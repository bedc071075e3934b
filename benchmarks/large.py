"""A large image through the command line: `python -m benchmarks.large 200` encodes and decodes 200 megapixels.

The image is put together from photographs, each shaded anew, and never held whole by this script. Prints seconds and
the most memory that each command took (peak resident set).
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from datasets.builtin import demo_photographs

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
WIDTH = 20_000
BAND = 500


def write_ppm(path: Path, megapixels: float) -> None:
    """A PPM file of so many megapixels, rows of photographs."""
    photographs = [image[:300, :450] for image in demo_photographs().values() if image.shape[2] == 3]
    random = np.random.default_rng(0)
    height = max(1, round(megapixels * 1e6 / WIDTH))
    with path.open("wb") as file:
        file.write(f"P6\n{WIDTH} {height}\n255\n".encode())
        for top in range(0, height, BAND):
            band = np.zeros((BAND, WIDTH, 3), np.uint8)
            for y in range(0, BAND, 300):
                for x in range(0, WIDTH, 450):
                    tile = photographs[random.integers(len(photographs))].astype(np.int16) + random.integers(-20, 21)
                    part = np.clip(tile, 0, 255)[: BAND - y, : WIDTH - x]
                    band[y : y + part.shape[0], x : x + part.shape[1]] = part
            noise = random.integers(0, 4, band.shape, np.uint8)  # so that no part repeats another
            file.write((band ^ noise)[: height - top].tobytes())


def measured(*arguments: str) -> str:
    """Runs a command; its seconds and peak memory."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    started = time.perf_counter()
    subprocess.run([sys.executable, "main.py", *arguments], check=True, cwd=CONFIGS.parent)
    peak = max(before, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
    return f"{time.perf_counter() - started:.0f} s, at most {peak / 1e6:.2f} GB so far"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("megapixels", type=float, nargs="?", default=200)
    parser.add_argument("--directory", type=Path, default=Path("out/large"))
    options = parser.parse_args()
    source, coded, restored = (options.directory / f"large{ending}" for ending in (".ppm", ".p59", ".png"))
    options.directory.mkdir(parents=True, exist_ok=True)
    write_ppm(source, options.megapixels)
    encode = [str(CONFIGS / "encode_wavefront.json"), f"test_data={source}", f"bitstream_path={coded}", "verify=false"]
    decode = [str(CONFIGS / "decode.json"), f"bitstream_path={coded}", f"output_path={restored}"]
    print(f"encode {options.megapixels:g} MP: {measured(*encode)}", flush=True)
    print(f"decode {options.megapixels:g} MP: {measured(*decode)}", flush=True)


if __name__ == "__main__":
    main()
