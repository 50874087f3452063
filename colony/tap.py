"""The composition root of ``python -m twisted colony``: options in, a service out."""

from __future__ import annotations

import gc
import os
import sys
import time
from contextlib import suppress
from typing import NoReturn

from twisted.application.service import Service

import colony
from colony.core import check
from colony.core.desired import Desired, fold
from colony.options import Options, Settings, refuse
from colony.runtime.inheritance import prepare
from colony.runtime.locks import DirectoryLock, Taken
from colony.runtime.logs import relay_for
from colony.runtime.own_log import OwnLog
from colony.runtime.ownership import Ownership, Untrusted
from colony.runtime.records import Records
from colony.runtime.upgrade import SELF_CHECK, take_over
from colony.runtime.watch import Unseen, Watch
from colony.service import ColonyService

LOCK_PATIENCE = 1.0
"""Seconds that a start waits for a supervisor before it to let go."""


def makeService(options: Options) -> Service:
    """The supervisor as a service. Raises SystemExit with one line where it cannot be."""
    gc.freeze()  # what is there now stays, so nobody is to look for garbage in it
    settings = Settings.read(options, os.environ)
    if os.environ.get(SELF_CHECK):
        self_check(settings)
    hand_over = take_over()
    inheritance = prepare(unblock=hand_over is None)
    held = {} if hand_over is None else hand_over.locks
    locks = (
        DirectoryLock(settings.config, held.get(settings.config)),
        DirectoryLock(settings.messages, held.get(settings.messages)),
    )
    deadline = time.monotonic() + LOCK_PATIENCE
    for lock in locks:
        while True:
            try:
                lock.acquire()
            except Taken as taken:
                if time.monotonic() > deadline:
                    refuse(str(taken))
                time.sleep(0.02)
                continue
            except OSError:
                pass  # the rounds say so, and wait for it
            break
    if hand_over is None:  # else the self-check has asked, and what runs already is not to be left alone for this
        refuse_untrusted(settings)
    own_log = OwnLog()
    relay = relay_for(options.parent, sys.argv[1:], own_log.write)

    from twisted.internet import reactor

    # Timers that no change of the wall's clock moves; before anything is scheduled.
    reactor.seconds = time.monotonic  # type: ignore[method-assign]
    return ColonyService(reactor, settings, inheritance, locks, own_log, relay, options.parent, hand_over)


def refuse_untrusted(settings: Settings) -> None:
    """Raises SystemExit where others may decide what runs, by CONFIG, or what goes on, by STATE."""
    ownership = Ownership(settings.trusted)
    for option, path in (("config", settings.config), ("state", settings.state)):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            continue  # it is not there yet; whoever looks into it judges it then
        try:
            ownership.require_directory(path, descriptor)
        except Untrusted as untrusted:
            refuse(f"--{option} is not to be trusted: {untrusted}; or give --no-strict-modes")
        except OSError as error:
            refuse(f"cannot tell who may write --{option} {path}: {error.strerror}")
        finally:
            os.close(descriptor)


def self_check(settings: Settings) -> NoReturn:
    """What an upgrade wants to know of new code: it is there, and can read what it would go on with. Exits."""
    refuse_untrusted(settings)
    with suppress(Unseen):
        ownership = Ownership(settings.trusted)
        listing = Watch(settings.config, check.MAX_SPEC_BYTES, time.monotonic, ownership=ownership).look()
        desired, names = fold(Desired(), listing, settings.defaults)
        sys.stdout.write(f"colony {colony.__version__} can read {len(desired.specs)} of {len(names)} process files\n")
    list(Records(lambda: os.path.join(settings.state, "records")).read())
    raise SystemExit(0)
