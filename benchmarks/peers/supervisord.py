"""supervisord, asked over its UNIX socket."""

from __future__ import annotations

import http.client
import socket
import xmlrpc.client
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peer import Peer, Program, Unavailable, write_whole
from benchmarks.peers.obtain import by_pip

_CONFIGURATION = """\
[supervisord]
logfile={place}/supervisord.log
pidfile={place}/supervisord.pid
childlogdir={place}/logs
minfds=16384
[unix_http_server]
file={place}/socket
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://{place}/socket
[include]
files={place}/programs/*.conf
"""


class _Connection(http.client.HTTPConnection):
    """HTTP over the UNIX socket whose path stands where the host does."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.host)


class _Transport(xmlrpc.client.Transport):
    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: object) -> _Connection:
        return _Connection(self._path)


class Supervisord(Peer):
    """With its defaults, but room for the descriptors of some thousand processes."""

    name = "supervisord"
    changes_user = True
    is_python = True

    def __init__(self) -> None:
        self._python = Path()

    def install(self, cache: Path) -> str:
        self._python, version = by_pip(cache, "supervisor")
        return version

    def _section(self, place: Path, program: Program) -> str:
        user = "" if program.uid is None else f"user={program.uid}\n"
        logged = ""
        if program.relayed:
            raise Unavailable("has no log of all")
        if program.logged:  # its own defaults, but for the place; lines are not interleaved with those of stderr
            logged = f"stdout_logfile={place}/said/{program.name}.log\nredirect_stderr=true\n"
        return f"[program:{program.name}]\ncommand={' '.join(program.argv)}\n{user}{logged}"

    def logs(self, place: Path) -> Path:
        return place / "said"

    def define(self, place: Path, programs: Sequence[Program]) -> None:
        (place / "logs").mkdir()
        (place / "said").mkdir()
        (place / "programs").mkdir()
        (place / "supervisord.conf").write_text(_CONFIGURATION.format(place=place))
        (place / "programs" / "all.conf").write_text("".join(self._section(place, program) for program in programs))

    def command(self, place: Path) -> Sequence[str]:
        return [str(self._python), "-m", "supervisor.supervisord", "-n", "-c", str(place / "supervisord.conf")]

    def _ask(self, place: Path) -> xmlrpc.client.ServerProxy:
        return xmlrpc.client.ServerProxy("http://localhost", transport=_Transport(str(place / "socket")))

    def add(self, place: Path, program: Program) -> None:
        write_whole(place / "programs" / f"{program.name}.conf", self._section(place, program))
        with self._ask(place) as server:
            server.supervisor.reloadConfig()
            server.supervisor.addProcessGroup(program.name)

    def add_command(self, place: Path, program: Program) -> Sequence[str]:
        # The file is part of what a person writes, but not of what the command costs.
        write_whole(place / "programs" / f"{program.name}.conf", self._section(place, program))
        ctl = [str(self._python), "-m", "supervisor.supervisorctl", "-c", str(place / "supervisord.conf")]
        return [*ctl, "update", program.name]

    def restart(self, place: Path, name: str) -> None:
        with self._ask(place) as server:
            server.supervisor.stopProcess(name)
            server.supervisor.startProcess(name, False)
