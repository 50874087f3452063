"""Chaos from the command line: ``python -m tests.chaos --seed 7``, or many seeds side by side."""

from __future__ import annotations

import argparse
import concurrent.futures
import sys
import tempfile
import time
from itertools import repeat
from pathlib import Path

from tests.chaos.run import LENGTH, plan, run


def _one(seed: int, length: int) -> tuple[int, float, list[str]]:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="chaos") as folder:
        wrong = run(seed, Path(folder), length)
    return seed, time.monotonic() - began, wrong


def main() -> int:
    """Exit code 1 if a seed fails; each failure with its steps and the end of the log."""
    options = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    options.add_argument("--seed", type=int, default=1, help="the first one")
    options.add_argument("--count", type=int, default=1, help="how many, one after the other")
    options.add_argument("--jobs", type=int, default=1, help="how many at the same time")
    options.add_argument("--length", type=int, default=LENGTH, help="how many events each")
    options.add_argument("--plan", action="store_true", help="only print the steps")
    given = options.parse_args()
    seeds = range(given.seed, given.seed + given.count)
    if given.plan:
        for seed in seeds:
            print(*plan(seed, given.length), sep="\n")
        return 0
    failed = 0
    with concurrent.futures.ProcessPoolExecutor(given.jobs) as pool:
        for seed, seconds, wrong in pool.map(_one, seeds, repeat(given.length)):
            print(f"seed {seed}: {'failed' if wrong else 'passed'} in {seconds:.1f} s", flush=True)
            if wrong:
                failed += 1
                print(*wrong, sep="\n", flush=True)
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
