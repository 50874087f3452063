"""What listens is asked by tcp and http; whatever it does then costs it its health, and nobody else anything."""

from __future__ import annotations

import errno
import resource
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from colony.core.lifecycle import Probed, Ready
from colony.core.model import Http, Pid, Tcp
from tests.runtime.attendance import (
    Attendance,
    answering,
    attending,
    free_port,
    read_request,
    serving,
    silent,
)
from tests.runtime.loop import Loop, descriptors, said

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nyes"


@pytest.fixture
def here(loop: Loop, tmp_path: Path) -> Iterator[Attendance]:
    with attending(loop, tmp_path) as attendance:
        yield attendance


# -- tcp ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_who_accepts_a_connection_is_well(here: Attendance, host: str) -> None:
    with serving(silent, host) as server:
        here.attend(Tcp(server.port))
        assert here.next(2) == [None, None]


def test_where_nobody_listens_it_is_refused(here: Attendance) -> None:
    port = free_port()
    here.attend(Tcp(port))
    assert here.next(2) == [f"port {port} of 127.0.0.1: Connection refused"] * 2


def test_it_is_ready_soon_after_it_listens(here: Attendance) -> None:
    port = free_port()
    here.attend(Tcp(port), ready=True)
    here.loop.until(lambda: here.told)
    here.loop.during(0.2)
    lacking = Probed(Pid(1), f"port {port} of 127.0.0.1: Connection refused")
    assert here.told == [lacking]
    listening = socket.create_server(("127.0.0.1", port))
    here.await_ready()
    here.loop.during(0.2)
    assert here.told == [lacking, Ready(Pid(1))]
    listening.close()


def test_a_port_that_happens_to_be_our_own_is_nobody_s(here: Attendance, monkeypatch: pytest.MonkeyPatch) -> None:
    """Called from the very port that is called, a connection is made with itself."""
    port = free_port()

    class Unlucky(socket.socket):
        def connect_ex(self, address: object) -> int:
            self.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.bind(("127.0.0.1" if self.family == socket.AF_INET else "::1", port))
            return super().connect_ex(address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "socket", Unlucky)
    here.attend(Tcp(port))
    assert here.next() == [f"port {port} of 127.0.0.1: Connection refused"]


def test_who_floods_is_well_and_not_read(here: Attendance) -> None:
    def flood(call: socket.socket) -> None:
        while True:
            call.sendall(b"x" * 1_000_000)

    with serving(flood) as server:
        here.attend(Tcp(server.port))
        assert here.next(3) == [None] * 3


def test_a_full_backlog_is_not_waited_for_longer_than_the_timeout(here: Attendance) -> None:
    listening = socket.create_server(("127.0.0.1", 0), backlog=0)
    port = listening.getsockname()[1]
    fillers = [socket.socket() for _ in range(4)]
    for filler in fillers:
        filler.setblocking(False)
        filler.connect_ex(("127.0.0.1", port))
    here.attend(Tcp(port), timeout=0.1)
    assert here.next() == [f"no connection to port {port} within 0.1 s"]
    for filler in (*fillers, listening):
        filler.close()


# -- http ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["200 OK", "204", "301 Moved", "302 Found", "399 Odd"])
def test_a_status_from_200_to_399_is_well(here: Attendance, status: str) -> None:
    with serving(answering(f"HTTP/1.1 {status}\r\nLocation: http://127.0.0.1:1/\r\n\r\n".encode())) as server:
        here.attend(Http(f"http://127.0.0.1:{server.port}/health"))
        assert here.next(2) == [None, None]
        assert server.served >= 2


@pytest.mark.parametrize("status", ["400", "404", "500", "503"])
def test_any_other_status_is_the_trouble(here: Attendance, status: str) -> None:
    with serving(answering(f"HTTP/1.1 {status} No\r\n\r\n".encode())) as server:
        url = f"http://127.0.0.1:{server.port}/health"
        here.attend(Http(url))
        assert here.next(2) == [f"{url} answered {status}"] * 2


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_the_request_names_host_and_path_and_asks_to_close(here: Attendance, host: str) -> None:
    seen: list[bytes] = []

    def serve(call: socket.socket) -> None:
        seen.append(read_request(call))
        call.sendall(OK)
        call.close()

    with serving(serve) as server:
        here.attend(Http(f"http://{host}:{server.port}/a/b%20c?deep=1#part"))
        assert here.next() == [None]
    lines = seen[0].split(b"\r\n")
    assert lines[0] == b"GET /a/b%20c?deep=1 HTTP/1.1"
    assert f"Host: {host}:{server.port}".encode() in lines
    assert b"Connection: close" in lines


def test_localhost_is_also_found_where_it_is_only_ipv6(here: Attendance) -> None:
    with serving(answering(OK), "::1") as server:
        here.attend(Http(f"http://localhost:{server.port}"))
        here.attend(Http(f"http://[::1]:{server.port}"), 2)
        assert here.next(4) == [None] * 4


def test_interim_answers_are_passed_over(here: Attendance) -> None:
    with serving(answering(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 C\r\n\r\n" + OK)) as server:
        here.attend(Http(f"http://127.0.0.1:{server.port}"))
        assert here.next() == [None]


def test_a_head_that_drips_is_read_to_its_status(here: Attendance) -> None:
    def drip(call: socket.socket) -> None:
        read_request(call)
        for index in range(len(OK)):
            call.sendall(OK[index : index + 1])
        call.close()

    with serving(drip) as server:
        here.attend(Http(f"http://127.0.0.1:{server.port}"))
        assert here.next() == [None]


def test_a_head_that_drips_too_slowly_is_given_up(here: Attendance) -> None:
    def drip(call: socket.socket) -> None:
        read_request(call)
        call.sendall(b"HTT")
        silent(call)

    with serving(drip) as server:
        url = f"http://127.0.0.1:{server.port}"
        here.attend(Http(url), timeout=0.1)
        assert here.next(2) == [f"no answer from {url} within 0.1 s"] * 2


def test_who_never_answers_is_given_up(here: Attendance) -> None:
    with serving(silent) as server:
        url = f"http://127.0.0.1:{server.port}"
        here.attend(Http(url), timeout=0.1)
        assert here.next() == [f"no answer from {url} within 0.1 s"]


def test_who_closes_without_an_answer_is_in_trouble(here: Attendance) -> None:
    with serving(answering(b"")) as server:
        url = f"http://127.0.0.1:{server.port}"
        here.attend(Http(url))
        assert here.next() == [f"{url}: the connection was closed before an answer"]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"220 smtp.example.org ESMTP\r\n", "the answer is not HTTP"),
        (b"\r\n\r\n", "the answer is not HTTP"),
        (b"HTTP/1.1 20x OK\r\n\r\n", "the answer is not HTTP"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", "the answer is not HTTP"),
        (b"x" * 100_000, "the answer has no status"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000, "the answer has no status"),
        (b"HTTP/1.1 100 Continue\r\nX: " + b"y" * 100_000, "the answer has no status"),
    ],
)
def test_what_is_no_answer_is_said_so(here: Attendance, data: bytes, why: str) -> None:
    with serving(answering(data)) as server:
        url = f"http://127.0.0.1:{server.port}"
        here.attend(Http(url))
        assert here.next(2) == [f"{url}: {why}"] * 2


def test_a_flood_of_body_is_cut_off(here: Attendance) -> None:
    cut: list[int] = []

    def flood(call: socket.socket) -> None:
        read_request(call)
        call.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                call.sendall(b"x" * 100_000)
        except OSError as error:
            cut.append(error.errno or 0)

    with serving(flood) as server:
        here.attend(Http(f"http://127.0.0.1:{server.port}"))
        assert here.next(2) == [None, None]
        here.loop.until(lambda: cut)
    assert cut[0] in (errno.ECONNRESET, errno.EPIPE)


def test_who_writes_a_short_body_ends_in_peace(here: Attendance) -> None:
    ends: list[bytes | int] = []

    def serve(call: socket.socket) -> None:
        read_request(call)
        try:
            call.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            for _ in range(5):
                call.sendall(b"x" * 1000)
            call.shutdown(socket.SHUT_WR)
            ends.append(call.recv(1))
        except OSError as error:
            ends.append(error.errno or 0)

    with serving(serve) as server:
        here.attend(Http(f"http://127.0.0.1:{server.port}"), ready=True)
        here.await_ready()
        here.loop.until(lambda: ends)
    assert ends == [b""]


def test_a_connection_that_stays_open_after_the_answer_is_cut_before_the_next(here: Attendance) -> None:
    open_now: list[int] = []

    def serve(call: socket.socket) -> None:
        read_request(call)
        open_now.append(1)
        call.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        silent(call)
        open_now.pop()

    with serving(serve) as server:
        here.attend(Http(f"http://127.0.0.1:{server.port}"))
        here.next(6)
        assert len(open_now) <= 2
        before = descriptors()
        here.next(6)
        assert descriptors() <= before + 2


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=nobody"
    try:
        subprocess.run(
            [*command.split(), "-keyout", str(path), "-out", f"{path}.crt"], check=True, capture_output=True, timeout=60
        )
    except FileNotFoundError:
        pytest.skip("makes its certificate with openssl, which is not here")
    path.write_bytes(path.read_bytes() + Path(f"{path}.crt").read_bytes())
    return path


@pytest.mark.parametrize(("status", "trouble"), [("200 OK", None), ("503 No", "answered 503")])
def test_https_is_asked_whoever_signed(here: Attendance, certificate: Path, status: str, trouble: str | None) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def serve(call: socket.socket) -> None:
        with context.wrap_socket(call, server_side=True) as secure:
            read_request(secure)
            secure.sendall(f"HTTP/1.1 {status}\r\n\r\n".encode() + b"x" * 40_000)

    with serving(serve) as server:
        url = f"https://localhost:{server.port}/"
        here.attend(Http(url))
        expected = None if trouble is None else f"{url} {trouble}"
        assert here.next(2) == [expected, expected]


def test_https_of_what_speaks_no_tls_is_trouble(here: Attendance) -> None:
    with serving(lambda call: call.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 10)) as server:
        here.attend(Http(f"https://127.0.0.1:{server.port}/"))
        assert here.next(2) == [f"port {server.port} of 127.0.0.1: Protocol error"] * 2


def test_a_name_is_looked_up_and_one_that_is_not_there_is_the_trouble(
    here: Attendance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def getaddrinfo(host: str, port: None, **_: object) -> list[object]:
        if host == "there.test":
            return [(0, 0, 0, "", ("127.0.0.1", 0))]
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with serving(answering(OK)) as server:
        here.attend(Http(f"http://there.test:{server.port}"))
        assert here.next(2) == [None, None]
        here.attend(Http(f"http://gone.test:{server.port}"))
        assert here.next() == ["cannot look up gone.test: Name or service not known"]


def test_a_name_server_that_hangs_makes_nobody_ill_and_costs_one_thread(
    here: Attendance, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    hanging, asked = threading.Event(), []

    def getaddrinfo(*args: object, **_: object) -> list[object]:
        asked.append(args)
        hanging.wait()
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    here.attend(Http("http://slow.test/"), timeout=0.1)
    assert here.next() == ["no answer from http://slow.test/ within 0.1 s"]
    with said() as lines:
        here.loop.until(lambda: any("still being looked up" in line for line in lines))
    assert len(asked) == 1
    assert len(here.troubles) == 1
    hanging.set()


# -- many, and too many -------------------------------------------------------------------------------------


def test_a_hundred_that_hang_hold_nobody_up(here: Attendance) -> None:
    with serving(silent) as bad, serving(answering(OK)) as good:
        for pid in range(100, 200):
            here.attend(Http(f"http://127.0.0.1:{bad.port}"), pid, timeout=30, name=f"bad{pid}", every=0.01)
        here.attend(Http(f"http://127.0.0.1:{good.port}"), 1, timeout=15)
        assert here.next(5) == [None] * 5
        for pid in range(100, 200):
            here.checks.forget(Pid(pid))


@pytest.mark.parametrize("kind", ["tcp", "http"])
def test_for_want_of_descriptors_nothing_is_told_and_it_is_said_once(here: Attendance, kind: str) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with serving(answering(OK)) as server, said() as lines:
        here.attend(Tcp(server.port) if kind == "tcp" else Http(f"http://127.0.0.1:{server.port}"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
        try:
            here.loop.until(lambda: lines)
            here.loop.during(0.1)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        assert here.told == []
        assert len(lines) == 1
        assert "Too many open files" in lines[0]
        assert here.next() == [None]


def test_nothing_is_left_open(here: Attendance) -> None:
    port = free_port()
    before = descriptors()
    with serving(silent) as server:
        here.attend(Http(f"http://127.0.0.1:{server.port}"), 1, timeout=0.05)
        here.attend(Tcp(server.port), 2)
        here.attend(Tcp(port), 3)
        here.next(10)
        for pid in (Pid(1), Pid(2), Pid(3)):
            here.checks.forget(pid)
    here.loop.until(lambda: descriptors() == before)  # the server has its own in this process
