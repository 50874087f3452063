"""The http probe: is a GET answered as it should be?"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Callable, Sequence
from functools import partial
from urllib.parse import urlsplit

from twisted.internet.interfaces import IDelayedCall, IReactorFDSet, IReactorFromThreads, IReactorTime

import colony
from colony.runtime.aside import aside
from colony.runtime.connection import Conversation
from colony.runtime.probe_tcp import LOCAL, Call, Failed
from colony.runtime.probes import Answer, Ill, Unasked, Well, of_error
from colony.runtime.tls import Tls

_HEAD = 16_384
"""Bytes in which the status has to come, after interim ones (1xx, RFC 9110)."""

_BODY = 65_536
"""Bytes of an answer that are read on, so that whoever writes it ends in peace; then the connection is cut."""

_LINGER = 1.0
"""Seconds that the rest may take for that."""

_STATUS = re.compile(rb"HTTP/[0-9]\.[0-9] ([1-5][0-9][0-9])[ \r\n]")


class IReactor(IReactorFDSet, IReactorTime, IReactorFromThreads):
    """What an http probe needs of a reactor."""


class HttpProbe:
    """
    Sends one GET, and reads the status: 200 to 399 is well; redirects are not followed.

    The certificate of an https URL is not verified: the question is whether a service works, mostly a local one that
    is called by no name a certificate could have. A host's name is looked up at each question.
    """

    def __init__(self, reactor: IReactor, url: str) -> None:
        """``url`` as `colony.core.check` allows it."""
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        self._reactor = reactor
        self._url = url
        self._host = parts.hostname or ""
        self._context = _unverified() if secure else None
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._request = (
            f"GET {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nUser-Agent: colony/{colony.__version__}\r\n"
            "Accept: */*\r\nConnection: close\r\n\r\n"
        ).encode()
        self._call = Call(reactor, parts.port or (443 if secure else 80))
        self._done: Callable[[Answer], None] | None = None
        self._looking_up = False
        self._rest: IDelayedCall | None = None

    @property
    def overdue(self) -> str:
        return f"no answer from {self._url}"

    def ask(self, done: Callable[[Answer], None]) -> None:
        self.cancel()
        self._done = done
        if self._host == "localhost":
            self._begin(LOCAL)
        elif _is_address(self._host):
            self._begin((self._host,))
        elif self._looking_up:  # still, though the question it was for has been given up
            self._finish(Unasked(f"the name {self._host} is still being looked up"))
        else:
            self._look_up()

    def cancel(self) -> None:
        self._done = None
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
        self._call.cancel()

    def _look_up(self) -> None:
        self._looking_up = True
        try:
            aside(self._reactor, partial(_resolve, self._host), self._looked_up)
        except RuntimeError as error:  # no thread to be had
            self._looking_up = False
            self._finish(Unasked(str(error)))

    def _looked_up(self, found: Sequence[str] | OSError) -> None:
        self._looking_up = False
        what = f"cannot look up {self._host}"
        if self._done is None:
            return
        if isinstance(found, socket.gaierror):
            why = f"{what}: {found.strerror}"
            self._finish(Ill(why) if found.errno == socket.EAI_NONAME else Unasked(why))
        elif isinstance(found, OSError):
            self._finish(of_error(found.errno, what))
        else:
            self._begin(found)

    def _begin(self, hosts: Sequence[str]) -> None:
        self._call.begin(hosts, self._converse, self._finish)

    def _converse(self, failed: Failed) -> Conversation:
        get = _Get(self._request, failed, self._answered, self._over)
        return get if self._context is None else Tls(self._context, self._host, get)

    def _answered(self, status: int | None, why: str) -> None:
        """Tell it; what is left of the answer is read for a while."""
        self._rest = self._reactor.callLater(_LINGER, self._cut)
        if status is None:
            self._finish(Ill(f"{self._url}: {why}"))
        elif 200 <= status <= 399:
            self._finish(Well())
        else:
            self._finish(Ill(f"{self._url} answered {status}"))

    def _over(self) -> None:
        if self._rest is not None:
            self._rest.cancel()
            self._cut()

    def _cut(self) -> None:
        self._rest = None
        self._call.cancel()

    def _finish(self, answer: Answer) -> None:
        if self._done is not None:
            done, self._done = self._done, None
            done(answer)


class _Get:
    """Sends the request, and reads the answer."""

    def __init__(
        self,
        request: bytes,
        failed: Failed,
        answered: Callable[[int | None, str], None],
        over: Callable[[], None],
    ) -> None:
        """``answered`` is told the status, or None and why not; ``over``, afterwards, that nothing more comes."""
        self._request = request
        self._failed = failed
        self._answered = answered
        self._over = over
        self._connected = False
        self._told = False
        self._head = b""
        self._read = 0

    def connected(self) -> bytes:
        self._connected = True
        return self._request

    def received(self, data: bytes) -> bytes:
        self._read += len(data)
        if not self._told:
            self._head += data
            self._look()
        if self._told and self._read > _BODY:
            self._over()
        return b""

    def _look(self) -> None:
        while b"\n" in self._head and not self._told:
            status = _STATUS.match(self._head)
            if status is None:
                self._tell(None, "the answer is not HTTP")
            elif not status[1].startswith(b"1"):
                self._tell(int(status[1]), "")
            elif b"\r\n\r\n" in self._head:
                self._head = self._head.partition(b"\r\n\r\n")[2]
            else:
                break
        if not self._told and self._read > _HEAD:
            self._tell(None, "the answer has no status")

    def _tell(self, status: int | None, why: str) -> None:
        self._told, self._head = True, b""
        self._answered(status, why)

    def ended(self, error: int | None) -> None:
        if self._told:
            self._over()
        elif not self._connected:
            self._failed(error)
        else:
            self._tell(None, "the connection was closed before an answer")
            self._over()


def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _is_address(host: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return True
    return False


def _resolve(host: str) -> Sequence[str] | OSError:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        return error
    except UnicodeError:  # how the encoding of names tells of one that is too long
        return socket.gaierror(socket.EAI_NONAME, "there can be no such name")
    return tuple(dict.fromkeys(str(address[0]) for *_, address in found))
