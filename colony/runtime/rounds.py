"""
Walks the rounds: a look at CONFIG, then one at MESSAGES; when rung for, when something is due, and every so often.

Nothing that goes wrong in a round keeps the next one from coming.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from colony.core.desired import Listing
from colony.runtime.doorbell import Doorbell
from colony.runtime.inbox import Inbox
from colony.runtime.locks import DirectoryLock, Taken
from colony.runtime.logs import IReactor
from colony.runtime.watch import Unseen, Watch

log = Logger(namespace="colony")

RETRY = 1.0
"""Seconds after which a directory that could not be seen is looked for again."""


class Rounds:
    """
    The looking at both directories, from `begin` to `end`.

    ``frequency`` is the seconds between two full looks; ``take`` is given what a look at CONFIG found; ``settle`` is
    called when a directory has become another one, or changes are heard of in another way.
    """

    def __init__(
        self,
        reactor: IReactor,
        frequency: float,
        config: DirectoryLock,
        messages: DirectoryLock,
        watch: Watch,
        inbox: Inbox,
        take: Callable[[Listing], None],
        settle: Callable[[], None],
    ) -> None:
        self._reactor = reactor
        self._frequency = frequency
        self._locks = (config, messages)
        self._watch = watch
        self._inbox = inbox
        self._take = take
        self._settle = settle
        self._config_bell: Doorbell | None = None
        self._messages_bell: Doorbell | None = None
        self._next: IDelayedCall | None = None
        self._more: IDelayedCall | None = None
        self._rang_meanwhile = False
        self._full_at = 0.0
        self._going = False
        self._troubles: dict[str, str] = {}
        self.inotify = True

    def begin(self) -> None:
        """Look at everything now, and go on doing so."""
        self._going = True
        self.scan_all()

    def end(self) -> None:
        """Look no more."""
        self._going = False
        for timer in (self._next, self._more):
            if timer is not None:
                timer.cancel()
        self._next = self._more = None
        for bell in (self._config_bell, self._messages_bell):
            if bell is not None:
                bell.close()
        self._config_bell = self._messages_bell = None

    def scan_all(self) -> None:
        """A full round: locks and doorbells set right, CONFIG, MESSAGES."""
        self._full_at = self._reactor.seconds() + self._frequency
        locked = [self._hold(lock) for lock in self._locks]
        if all(locked):
            self._listen()
            if self._look_at_config(None):
                self._look_at_messages()
        if self._troubles:
            self._full_at = min(self._full_at, self._reactor.seconds() + RETRY)
        self._plan()

    def scan(self) -> bool:
        """Look at all of CONFIG; returns whether it could be seen."""
        seen = self._look_at_config(None)
        self._plan()
        return seen

    def _config_rang(self, names: frozenset[str] | None) -> None:
        if names is None:  # another directory may have the path now: it is held and listened to first
            self.scan_all()
            return
        if self._look_at_config(names):
            self._look_at_messages()  # one may have waited for this
        self._plan()

    def _messages_rang(self, names: frozenset[str] | None) -> None:
        if names is None:
            self.scan_all()
            return
        # CONFIG comes first: who adds, then asks for a restart, means the new file.
        if self._config_bell is not None and self.inotify:
            self._config_bell.doRead()
        else:
            self._look_at_config(None)
        self._look_at_messages()
        self._plan()

    def _due(self) -> None:
        self._next = None
        now = self._reactor.seconds()
        if now >= self._full_at:
            self.scan_all()
            return
        if self._watch.again_at is not None and now >= self._watch.again_at:
            self._look_at_config(self._watch.unsure)
        self._messages_rang(frozenset())

    def _plan(self) -> None:
        """Set the one timer to whatever is due first."""
        if not self._going:
            return
        # What cannot be seen is looked for at the next full look; until then nothing in it is due.
        config = None if self._is_troubled("config", self._locks[0]) else self._watch.again_at
        messages = None if self._is_troubled("messages", self._locks[1]) else self._inbox.again_at
        due = [at for at in (self._full_at, config, messages) if at is not None]
        if self._next is not None:
            self._next.cancel()
        # Not sooner than this: what is overdue and cannot be done must not spin.
        self._next = self._reactor.callLater(max(0.01, min(due) - self._reactor.seconds()), self._due)

    def _look_at_config(self, names: frozenset[str] | None) -> bool:
        if not self._hold(self._locks[0]):
            return False
        try:
            listing = self._watch.look(names)
        except Unseen as unseen:
            self._trouble("config", f"{unseen}; everything stays as it is")
            return False
        except Exception:
            log.failure("cannot look at the configuration")
            return False
        self._healed("config")
        try:
            self._take(listing)
        except Exception:
            log.failure("cannot take in the configuration")
        return True

    def _look_at_messages(self) -> None:
        if self._more is not None:  # one batch a turn, however often it rings
            self._rang_meanwhile = True
            return
        if not self._hold(self._locks[1]):
            return
        try:
            more = self._inbox.look()
        except Unseen as unseen:
            self._trouble("messages", str(unseen))
            return
        except Exception:
            log.failure("cannot look at the messages")
            return
        self._healed("messages")
        if self._going and (more or self._rang_meanwhile):
            self._more = self._reactor.callLater(0, self._more_messages, more)
            if not more:
                self._rang_meanwhile = False

    def _more_messages(self, more: bool) -> None:
        self._more = None
        if more:
            self._look_at_messages()
            self._plan()
        else:
            self._messages_rang(frozenset())

    def _hold(self, lock: DirectoryLock) -> bool:
        try:
            if lock.acquire():
                self._settle()
        except Taken as taken:
            self._trouble(lock.path, f"{taken}; it is not obeyed until that ends")
            return False
        except OSError as error:
            self._trouble(lock.path, f"cannot hold {lock.path}: {error.strerror}; everything stays as it is")
            return False
        self._healed(lock.path)
        return True

    def _listen(self) -> None:
        config, messages = (lock.path for lock in self._locks)
        try:
            if self._config_bell is None:
                self._config_bell = Doorbell(self._reactor, config, self._config_rang)
            if self._messages_bell is None:
                self._messages_bell = Doorbell(self._reactor, messages, self._messages_rang)
            self._config_bell.listen()
            self._messages_bell.listen()
        except OSError as error:
            if self.inotify:
                log.warn(
                    "no inotify ({error}): changes are seen every {frequency} s", error=error, frequency=self._frequency
                )
                self.inotify = False
                self._settle()
        else:
            if not self.inotify:
                log.info("inotify is back: changes are seen at once")
                self.inotify = True
                self._settle()

    def _trouble(self, what: str, text: str) -> None:
        if self._troubles.get(what) != text:
            log.error("{text}", text=text)
        self._troubles[what] = text
        self._full_at = min(self._full_at, self._reactor.seconds() + RETRY)

    def _is_troubled(self, what: str, lock: DirectoryLock) -> bool:
        return what in self._troubles or lock.path in self._troubles

    def _healed(self, what: str) -> None:
        if self._troubles.pop(what, None) is not None:
            log.info("{what} can be seen again", what=what)
