"""
Coverage-guided fuzzing of the validator: ``python -m tests.fuzz.fuzz_check tests/fuzz/corpus -max_total_time=300``.

Needs atheris, which is no requirement of ours: ``pip install atheris``. Arguments are libFuzzer's; new inputs go to the
first directory. A crash is to be mended, and its input, as small as it can be, added to the corpus.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

atheris = importlib.import_module("atheris")  # only who fuzzes has it

with atheris.instrument_imports():
    from tests.fuzz.oracle import holds

if __name__ == "__main__":
    words = f"-dict={Path(__file__).with_name('words.dict')}"
    atheris.Setup([sys.argv[0], words, "-max_len=4096", *sys.argv[1:]], holds)
    atheris.Fuzz()
