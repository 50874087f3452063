"""The child where no C compiler is: the same report, some ten milliseconds later."""

from __future__ import annotations

import os
import signal
import sys
import time

began = time.monotonic_ns()
fifo = os.open(sys.argv[1], os.O_WRONLY | os.O_CLOEXEC)
os.write(fifo, f"{sys.argv[2]} {os.getpid()} {began}\n".encode())
os.close(fifo)
while len(sys.argv) == 3:
    signal.pause()
