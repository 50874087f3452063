"""Makes a supervisor in Python as large as BALLAST says, in MiB: imported by its interpreter before anything else."""

import os

ballast = b"\1" * (int(os.environ.pop("BALLAST", "0")) << 20)
