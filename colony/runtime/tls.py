"""TLS around a conversation."""

from __future__ import annotations

import errno
import ssl

from colony.runtime.connection import CHUNK, Conversation


class Tls:
    """
    A conversation inside another, encrypted by the standard library.

    Twisted's own TLS needs pyOpenSSL, which a probe alone is no reason to install.
    """

    def __init__(self, context: ssl.SSLContext, host: str, inner: Conversation) -> None:
        """``host`` is told to the server (SNI)."""
        self._inner = inner
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._stands = False

    def connected(self) -> bytes:
        return self._advance()

    def received(self, data: bytes) -> bytes:
        self._incoming.write(data)
        return self._advance()

    def ended(self, error: int | None) -> None:
        self._inner.ended(error)

    def _advance(self) -> bytes:
        try:
            if not self._stands:
                self._tls.do_handshake()
                self._stands = True
                self._say(self._inner.connected())
            while data := self._tls.read(CHUNK):
                self._say(self._inner.received(data))
            self._inner.ended(None)  # it was said in order that nothing more comes
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            self._inner.ended(errno.EPROTO)
        return self._outgoing.read()

    def _say(self, data: bytes) -> None:
        if data:
            self._tls.write(data)
