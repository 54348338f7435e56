"""Logins with delegation a second on one core: one after the other, so that hardly two things run at once.

A login ends with alice's TGT in a file. The client's half counts as well, and so does the KDC, which is
asked for the forwarded TGT each time.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bench_idle import show
from bench_session import SPN, bare_gssapi, delegated
from forked_guest import forked_guest

from sso.client.conversation import ClientConversation
from sso.demo.realm import Realm
from sso.mech import load
from sso.policy import ClientPolicy
from sso.ports.port import open_port
from sso.ports.pump import Pump

CASE = "logins with delegation a second, one core"
BATCH, ROUNDS = 50, 9


@pytest.fixture
def alice(realm: Realm, keytabs: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in realm.env.items():
        monkeypatch.setenv(name, value)
    realm.kinit("alice", "-f")
    return keytabs["deleg"]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "ccache"
    yield path
    assert path.stat().st_size > 500


def _row(benchmark: Any, peer: str, login: Callable[[], object]) -> None:
    def a_second() -> float:
        begin = time.perf_counter()
        for _ in range(BATCH):
            login()
        return BATCH / (time.perf_counter() - begin)

    a_second()
    show(benchmark, CASE, peer, "a second", a_second, ROUNDS)


def test_in_process(benchmark: Any, alice: Path, store: Path) -> None:
    _row(benchmark, "console-sso", lambda: delegated(alice, store))


def test_bare(benchmark: Any, alice: Path, store: Path) -> None:
    _row(benchmark, "python-gssapi alone", lambda: bare_gssapi(alice, store))


def test_through_processes(benchmark: Any, alice: Path, store: Path, tmp_path: Path) -> None:
    """Client, channel, child, acceptor and agent in processes of their own."""
    with forked_guest(SPN, alice, store, tmp_path / "port") as address:
        _row(benchmark, "console-sso, the guest in its processes", lambda: _sign_in(address))


def _sign_in(address: str) -> None:
    conversation = ClientConversation(ClientPolicy(spn=SPN), load)
    port = open_port(address)
    try:
        Pump(port, conversation).run()
    finally:
        port.close()
    assert conversation.outcome is not None and conversation.outcome.exit == 0, conversation.outcome
