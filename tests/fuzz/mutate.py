"""Mutated files through the decoder: `python -m tests.fuzz.mutate --count 1000000`.

Each mutated file must be refused with a P59Error or give the very pixels it was made of, within a second. Three in four
get a right checksum again, so that the change reaches what lies behind it. Findings are written to `--findings`.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from hashlib import sha256
from pathlib import Path

from tests.fuzz.seeds import judged, seeds, with_crc

SECONDS = 1.0
NUMBERS = (0, 1, 2, 3, 6, 7, 16, 127, 128, 255)


def mutated(data: bytes, others: list[bytes], choose: random.Random) -> bytes:
    """A file with one to four changes: bits, bytes, pieces removed, doubled, moved, or taken from another file."""
    changed = bytearray(data)
    for _ in range(choose.choice((1, 1, 1, 2, 3, 4))):
        place = choose.randrange(max(1, len(changed)))
        length = choose.choice((1, 1, 2, 4, 8, choose.randrange(1, 40)))
        kind = choose.randrange(9)
        if kind == 0 and changed:
            changed[place] ^= 1 << choose.randrange(8)
        elif kind == 1 and changed:
            changed[place] = choose.choice(NUMBERS)
        elif kind == 2 and changed:
            changed[place] = choose.randrange(256)
        elif kind == 3:
            del changed[place : place + length]
        elif kind == 4:
            changed[place:place] = choose.randbytes(length)
        elif kind == 5:
            changed[place:place] = changed[place : place + length]
        elif kind == 6:
            other = choose.choice(others)
            start = choose.randrange(len(other))
            changed[place : place + length] = other[start : start + length]
        elif kind == 7:
            del changed[place:]
        else:
            changed[place : place + length] = bytes((choose.choice((0, 255, 128)),)) * length
    data = bytes(changed)
    return with_crc(data) if choose.randrange(4) else data


def run(number: int, count: int, findings: str) -> tuple[int, list[str], float]:
    """Try `count` files chosen by `number`: how many, what was found, and the longest time of one in seconds."""
    choose, known = random.Random(number), seeds()
    others, found, longest = [data for data, _ in known], [], 0.0
    for _ in range(count):
        data, picture = known[choose.randrange(len(known))]
        data = mutated(data, others, choose)
        started = time.perf_counter()
        wrong = judged(data, picture)
        seconds = time.perf_counter() - started
        longest = max(longest, seconds)
        if wrong is None and seconds > SECONDS:
            wrong = f"{seconds:.1f} s"
        if wrong is not None:
            path = Path(findings) / f"{sha256(data).hexdigest()[:16]}.p59"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            found.append(f"{path.name}: {wrong}")
    return count, found, longest


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000, help="mutated files in all")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--findings", default="out/fuzz", help="directory for files that are not handled")
    options = parser.parse_args()
    part = min(10_000, max(1, options.count // options.processes))
    sizes = [part] * (options.count // part) + ([options.count % part] if options.count % part else [])
    started, done, found, longest = time.perf_counter(), 0, [], 0.0
    with ProcessPoolExecutor(options.processes) as pool:
        numbers = range(options.seed * len(sizes), (options.seed + 1) * len(sizes))
        for count, news, seconds in pool.map(run, numbers, sizes, [options.findings] * len(sizes)):
            done, found, longest = done + count, found + news, max(longest, seconds)
            if done % 100_000 < part:
                print(f"{done:,} files, {len(found)} findings, longest {longest:.3f} s", flush=True)
    seconds = time.perf_counter() - started
    print(f"{done:,} mutated files in {seconds:.0f} s: {len(found)} findings, longest {longest:.3f} s")
    for line in found[:50]:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
