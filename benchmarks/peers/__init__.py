"""Every peer, by name; those of ``usual`` run unless others are asked for."""

from __future__ import annotations

from benchmarks.peer import Peer
from benchmarks.peers.circus import Circus
from benchmarks.peers.colony import Colony
from benchmarks.peers.daemontools import Daemontools
from benchmarks.peers.limit import LimitC, LimitPopen, LimitSplice
from benchmarks.peers.ncolony import NColony
from benchmarks.peers.pm2 import Pm2
from benchmarks.peers.runit import Runit
from benchmarks.peers.s6 import S6
from benchmarks.peers.supervisord import Supervisord

LIMIT = LimitPopen.name
"""The peer that the ratios refer to."""

every: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        LimitPopen(),
        LimitC(),
        LimitSplice(),
        NColony(),
        NColony(frequency=0.1),
        Supervisord(),
        Colony(),
        Circus(),
        Circus(delay=0.05),
        S6(),
        Runit(),
        Daemontools(),
        Pm2(),
    )
}

usual = (LIMIT, LimitC.name, "ncolony", "supervisord", "colony")
