"""Every peer, by name; those of ``usual`` run unless others are asked for."""

from __future__ import annotations

from benchmarks.peer import Peer
from benchmarks.peers.colony import Colony
from benchmarks.peers.limit import LimitC, LimitPopen
from benchmarks.peers.ncolony import NColony
from benchmarks.peers.supervisord import Supervisord

LIMIT = LimitPopen.name
"""The peer that the ratios refer to."""

every: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        LimitPopen(),
        LimitC(),
        NColony(),
        NColony(frequency=0.1),
        Supervisord(),
        Colony(),
    )
}

usual = (LIMIT, LimitC.name, "ncolony", "supervisord", "colony")
