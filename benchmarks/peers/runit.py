"""runit: a supervisor a service, below a scanner that looks every five seconds."""

from __future__ import annotations

from benchmarks.peers.directory import Directory


class Runit(Directory):
    """With its defaults. TERM ends its scanner alone, HUP the services too; the harness sends TERM to everybody."""

    name = "runit"
    period = 5.0
    packages = ("runit",)
    scanner = ("runsvdir",)
    again = ("sv", "term")
