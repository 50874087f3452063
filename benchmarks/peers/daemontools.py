"""daemontools: a supervisor a service, below a scanner that looks every five seconds."""

from __future__ import annotations

from benchmarks.peers.directory import Directory


class Daemontools(Directory):
    """With its defaults. Its scanner knows no shutdown: whoever ends it leaves the services running."""

    name = "daemontools"
    period = 5.0
    packages = ("daemontools",)
    scanner = ("svscan",)
    again = ("svc", "-t")
