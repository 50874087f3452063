"""The socket at which processes say by sd_notify(3) that they are ready, and alive; one for all of them."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable

import attrs
from twisted.internet.interfaces import IDelayedCall, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from colony.core.model import Name, Pid
from colony.runtime import proc
from colony.runtime.logs import IReactor

log = Logger(namespace="colony")

_LONGEST = 4096
"""Bytes of a message; a longer one is left unread."""

_AT_ONCE = 64
"""Messages read in one reactor turn."""

_REST = 0.005
"""Seconds without reading after so many: who floods us waits at the socket, and the rest goes on."""

_RETRY = 1.0
"""Seconds between two attempts to have the address."""

_UNHEARD = 1024
"""Processes remembered that said they are ready before anybody asked."""

_CREDENTIALS = struct.Struct("=iII")
"""struct ucred (unix(7)): pid, uid, gid."""

READY, ALIVE = b"READY=1", b"WATCHDOG=1"


Hear = Callable[[frozenset[bytes]], None]
"""Told the lines of each message."""


@attrs.frozen
class _Listener:
    name: Name
    hear: Hear


@implementer(IReadDescriptor)
class Notify:
    """
    One datagram socket in Linux's abstract namespace: its name is short whatever STATE is called, and every uid reaches
    it, as far as this network namespace goes.

    So everybody may send; who did, the kernel says (SO_PASSCRED), and it counts only if it is the main process or of
    its session. Descriptors sent along find no room, and so are never ours to close.
    """

    def __init__(self, reactor: IReactor, is_main: Callable[[Pid], bool], inherited: int | None = None) -> None:
        """
        ``is_main``: is that a main process of ours?  ``inherited`` is the descriptor of the socket that the code before
        us in this process has left open.
        """
        self._reactor = reactor
        self._inherited = inherited
        self._begun = False
        self.address = ""
        """As NOTIFY_SOCKET has it, ``@`` and a name; empty before `bind`."""
        self._is_main = is_main
        self._socket: socket.socket | None = None
        self._timer: IDelayedCall | None = None
        self._listeners: dict[Pid, _Listener] = {}
        self._ready_unheard: dict[Pid, int] = {}
        self._complained: set[Name | int] = set()
        self.trouble: str | None = "the socket for sd_notify is not there yet"
        """Why nothing can be heard; None while it can."""

    def bind(self, address: str) -> None:
        """Have the address, so that what is said waits for `begin`; or say why not, and try again until `close`."""
        self._timer = None
        self.address = address
        try:
            self._socket = self._bound()
        except OSError as error:
            strangers = error.errno == errno.EADDRINUSE
            why = "another process has that name" if strangers else os.strerror(error.errno or errno.EIO)
            trouble = f"cannot listen to sd_notify at {self.address}: {why}"
            if trouble != self.trouble:
                log.warn("{trouble}", trouble=trouble)
            self.trouble = trouble
            self._timer = self._reactor.callLater(_RETRY, self.bind, address)
            return
        self.trouble = None
        if self._begun:
            self._reactor.addReader(self)

    def begin(self) -> None:
        """Hear what is said, now that it is known who may say it."""
        self._begun = True
        if self._socket is not None:
            self._reactor.addReader(self)

    @property
    def descriptor(self) -> int | None:
        """That of the socket, for who goes on to listen in this process."""
        return None if self._socket is None else self._socket.fileno()

    def close(self) -> None:
        """Hear nothing more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._socket is not None:
            self._reactor.removeReader(self)
            self._socket.close()
            self._socket = None

    def _bound(self) -> socket.socket:
        if not hasattr(socket, "SO_PASSCRED"):
            raise OSError(errno.EOPNOTSUPP, "no credentials of senders")
        name = "\0" + self.address.removeprefix("@")
        if (bound := self._left_open(name)) is not None:
            return bound
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            bound.setblocking(False)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            bound.bind(name)
        except OSError:
            bound.close()
            raise
        return bound

    def _left_open(self, name: str) -> socket.socket | None:
        """The socket that has that name already, and what was said since waits in."""
        inherited, self._inherited = self._inherited, None
        if inherited is None:
            return None
        os.set_inheritable(inherited, False)
        left = socket.socket(fileno=inherited)
        if left.getsockname() == name.encode():
            left.setblocking(False)
            return left
        left.close()
        return None

    def listen(self, pid: Pid, name: Name, hear: Hear) -> None:
        """Tell ``hear`` what that main process and its session say; that it was ready before, too, if it was."""
        self._listeners[pid] = _Listener(name, hear)
        started = self._ready_unheard.pop(pid, None)
        if started is not None and started == _start_time(pid):
            hear(frozenset({READY}))

    def ignore(self, pid: Pid) -> None:
        """Tell nothing more of it."""
        self._listeners.pop(pid, None)

    def read(self) -> bool:
        """Take in what has come, and no more than fits in one turn; returns whether that was all."""
        for _ in range(_AT_ONCE):
            try:
                if self._socket is None or not self._read_one(self._socket):
                    return True
            except OSError as error:
                log.warn("cannot read what was said by sd_notify: {error}", error=error.strerror)
                return True
        return False

    def _read_one(self, bound: socket.socket) -> bool:
        try:
            data, ancillary, flags, _ = bound.recvmsg(_LONGEST, socket.CMSG_SPACE(_CREDENTIALS.size))
        except (BlockingIOError, InterruptedError):
            return False
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS) and not flags & socket.MSG_TRUNC:
                pid, uid, _ = _CREDENTIALS.unpack(content[: _CREDENTIALS.size])
                self._take(Pid(pid), uid, frozenset(data.split(b"\n")))
        return True

    def _take(self, sender: Pid, uid: int, lines: frozenset[bytes]) -> None:
        try:
            # 0 is nobody whom this pid namespace has a number for; getsid(2) would take it for ourselves.
            main = Pid(os.getsid(sender)) if sender > 0 else None
        except OSError:
            main = None
        listener = None if main is None else self._listeners.get(main)
        if listener is not None:
            try:
                listener.hear(lines)
            except Exception:  # ours to mend; the others must be heard
                log.failure("cannot take in what {name} said by sd_notify", name=listener.name)
        elif main is not None and self._is_main(main):
            if READY in lines:
                self._keep(main)
        elif main is None and sender > 0:
            self._complain_of_gone(sender, lines)
        elif uid not in self._complained and len(self._complained) < _UNHEARD:
            self._complained.add(uid)
            log.warn(
                "not obeyed: process {pid} of uid {uid} spoke by sd_notify, and is in the session of no process here",
                pid=sender,
                uid=uid,
            )

    def _keep(self, main: Pid) -> None:
        """It spoke before it was listened to: a start is told of in a later turn."""
        started = _start_time(main)
        if started is not None:
            while len(self._ready_unheard) >= _UNHEARD:
                del self._ready_unheard[next(iter(self._ready_unheard))]
            self._ready_unheard[main] = started

    def _complain_of_gone(self, sender: Pid, lines: frozenset[bytes]) -> None:
        names = sorted({listener.name for listener in self._listeners.values()} - self._complained)
        if READY in lines and names:
            self._complained.update(names)
            log.warn(
                "process {pid} said READY=1 and was gone at once, so that nobody knows for whom ({names}?): "
                "the main process should say it, or whoever does wait a moment",
                pid=sender,
                names=", ".join(names[:10]),
            )

    # IReadDescriptor

    def fileno(self) -> int:
        return -1 if self._socket is None else self._socket.fileno()

    def logPrefix(self) -> str:
        return "sd_notify"

    def doRead(self) -> None:
        if not self.read() and self._socket is not None:
            self._reactor.removeReader(self)
            self._timer = self._reactor.callLater(_REST, self._go_on)

    def _go_on(self) -> None:
        self._timer = None
        self._reactor.addReader(self)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor is ending."""


def _start_time(pid: Pid) -> int | None:
    found = proc.stat(pid)
    return None if found is None else found.start_time
