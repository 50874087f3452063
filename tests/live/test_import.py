"""What people come with from supervisord, circus and foreman is imported by one command, and runs."""

from __future__ import annotations

import os
import pwd
import shutil
from pathlib import Path

import pytest

from tests.live.driver import CHECKOUT, Colony, process

pytestmark = pytest.mark.live

DATA = CHECKOUT / "tests" / "data" / "import"

STAND_IN = """\
#!/bin/sh
# Instead of a program that is not here: shows what it was started with in /proc, and ends when it is told to.
umask
sleep 1000 &
trap 'kill $!; exit 0' TERM QUIT
wait
"""


@pytest.fixture
def there(place: Colony, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the files are, as if installed: the programs that they name are found, the user that they name is us."""
    there = place.folder / "app"
    shutil.copytree(DATA, there)
    user = pwd.getpwuid(os.getuid()).pw_name
    for file in [*there.glob("**/*.conf"), *there.glob("**/*.ini")]:
        file.write_text(file.read_text().replace("nobody", user))
    folder = there / "supervisord" / "bin"
    folder.mkdir()
    for name in ("celery", "gunicorn", "php"):
        (folder / name).write_text(STAND_IN)
        (folder / name).chmod(0o755)
    more = {"PATH": f"{folder}:{place.environment['PATH']}", "PLACE": "a place", "HERE": str(there / "circus")}
    place.environment = place.environment | more
    return there


def command(pid: int) -> list[str]:
    """What a process was started with, less the interpreter of a script."""
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")[:-1]
    return words[1:] if words[0] == "/bin/sh" and words[1] != "-c" else words


def environ(pid: int) -> dict[str, str]:
    found = process(pid)
    assert found is not None
    return dict(found.environ)


def test_supervisord_s_sample_runs(place: Colony, there: Path) -> None:
    # The stand-in for cat -u without input would end at once.
    (there / "supervisord" / "bin" / "cat").write_text(STAND_IN)
    (there / "supervisord" / "bin" / "cat").chmod(0o755)
    place.done("import", "supervisord", str(there / "supervisord" / "sample.conf"))
    place.start()
    sample, worker, beat, *queue = (
        place.runs(name)
        for name in ("theprogramname", "celery", "celerybeat", "laravel-worker_00", "laravel-worker_01")
    )
    place.wait_for(lambda: command(sample)[1:] == ["-u", "two words", "100%"])
    assert environ(sample)["B"] == "2, and a place"
    assert environ(sample)["FROM_ABOVE"] == "yes, from above"
    assert os.readlink(f"/proc/{sample}/cwd") == str(there / "supervisord")
    assert command(worker)[1:3] == ["-A", "proj"]
    assert command(worker)[-1] == "worker@%h"
    assert "beat" in command(beat)
    assert [command(pid)[-1] for pid in queue] == ["--name=0", "--name=1"]
    assert "Umask:\t0027" in Path(f"/proc/{sample}/status").read_text()
    place.done("restart-group", "laravel-worker", "--wait")
    assert place.running("laravel-worker_00") != queue[:1]
    assert place.running("celery") == [worker]
    place.done("stop", "theprogramname", "--wait")
    assert place.status("theprogramname")["last_exit"]["code"] == 0  # by QUIT, which its trap has taken


def test_circus_s_example_runs(place: Colony, there: Path) -> None:
    done = place.ctl("import", "circus", str(there / "circus" / "circus.ini"))
    assert done.returncode == 1, done.stderr  # its watcher of a socket of circus's is not here
    place.start()
    first, second, worker, beat = (place.runs(name) for name in ("webapp-1", "webapp-2", "dbworker", "beat"))
    options = ["proj.wsgi:application", "--place", "a place"]
    place.wait_for(lambda: command(first)[1:] == ["-w", "2", "--name", "1", *options])
    place.wait_for(lambda: command(second)[1:] == ["-w", "2", "--name", "2", *options])
    assert environ(first)["CAKE"] == "the truth"
    assert environ(first)["PATH"].endswith(":/opt/bin")
    assert "HOME" in environ(first)  # user's own
    assert os.readlink(f"/proc/{first}/cwd") == str(there / "circus")
    assert "Max open files            500" in Path(f"/proc/{first}/limits").read_text()
    assert environ(worker)["CAKE"] == "lie"
    assert environ(worker)["PLACE"] == "a place"
    assert "PLACE" not in environ(beat)


def test_a_procfile_runs(place: Colony, there: Path) -> None:
    place.done("import", "procfile", str(there / "procfile" / "Procfile"))
    place.start()
    web, worker, clock = (place.runs(name) for name in ("web", "worker", "clock"))

    def family(name: str) -> list[list[str]]:
        return [command(found.pid) for found in place.family(name)]

    assert environ(web)["PORT"] == "7000"
    assert environ(clock)["PORT"] == "7200"
    assert environ(worker)["GREETING"] == "hello you"
    place.wait_for(lambda: any("0.0.0.0:7000" in words for words in family("web")))
    place.wait_for(lambda: any(words[-3:] == ["hello you", "--concurrency", "2"] for words in family("worker")))
    place.wait_for(lambda: ["cat"] in family("clock"))
