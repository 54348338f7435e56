"""A client that stays: renewed tickets, new guests, failures, the end; the test moves the clock."""

import gc
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from beds_staying import Console
from fake_world import World
from flows import ALICE, DELEG, MARKED, PASSWORD, Flow, Kerberos
from pair import Judge, leaks

from sso.client.exits import Exit
from sso.client.parties import Person, Shown
from sso.client.staying import LOOK_EVERY, PAUSE_MAX, ends
from sso.policy import ClientPolicy, GuestPolicy
from sso.ports.port import open_port
from sso.protocol.messages import Code, Signature, signature_line

ANNOUNCEMENT = signature_line(Signature(role="guest", nonce=bytes(16), echo=None, mechanisms=("GSSAPI",)))


@pytest.fixture
def cache(kerberos: Kerberos, tmp_path: Path) -> Callable[..., str]:
    """A function that gives alice a ticket for so long, always in the same cache."""
    return lambda life, who="alice": (
        f"FILE:{kerberos.realm.kinit(who, '-f', '-l', life, ccache=tmp_path / 'cc')}"
    )


@pytest.fixture
def console(kerberos: Kerberos, cache: Callable[..., str]) -> Console:
    """alice has signed in with a ticket of an hour, and stays."""
    mechanisms = {"GSSAPI": kerberos.guest("deleg", DELEG)}
    found = Console(ClientPolicy(spn=DELEG), GuestPolicy(), mechanisms=mechanisms, ccache=cache("1h"))
    found.run()
    assert found.client.signed_in and not found.client.finished
    return found


def expiries(console: Console) -> list[int]:
    """The ends of the tickets that the guest got."""
    return [claim.credential.expires if claim.credential else 0 for claim in console.judge.claims]


@pytest.mark.proves("S107")
def test_a_renewed_ticket_follows_within_a_minute_in_a_session_of_its_own(
    console: Console, cache: Callable[..., str]
) -> None:
    console.wait(1000)
    assert console.sessions == []
    cache("2h")
    console.wait(LOOK_EVERY)
    assert len(console.sessions) == 1
    first, second = expiries(console)
    assert second > first + 3500
    assert len({claim.attempt for claim in console.judge.claims}) == 2
    assert console.states[:3] == [f"signing-in {ALICE}", "signed-in", console.states[2]]
    until = [int(line.rpartition("until=")[2]) for line in console.states[2:]]
    assert [line.partition(" ")[0] for line in console.states[2:]] == ["staying", "renewed"]
    assert all(abs(end - given) <= 2 for end, given in zip(until, (first, second), strict=True))
    console.wait(7000)
    assert len(console.sessions) == 1 and console.said == []


def test_a_ticket_that_ends_sooner_or_is_anothers_or_cannot_be_read_stays_here(
    console: Console, cache: Callable[..., str]
) -> None:
    path = Path(cache("30m").removeprefix("FILE:"))
    console.wait(300)
    cache("9h", "bob")
    console.wait(300)
    path.write_bytes(path.read_bytes()[:40])  # as while it is being written
    console.wait(300)
    path.unlink()
    console.wait(300)
    assert (console.sessions, console.said, len(console.states)) == ([], [], 3)
    cache("9h")
    console.wait(LOOK_EVERY)
    assert len(console.sessions) == 1 and console.judge.principals == [ALICE, ALICE]


def test_the_library_s_word_for_the_end_is_that_of_the_cache(
    kerberos: Kerberos, cache: Callable[..., str]
) -> None:
    from sso_mechs import ccache

    name = cache("3h")
    (end,) = (t.end_time for t in ccache.read(Path(name[5:]).read_bytes()) if t.end_time)
    assert abs(ends(Shown(ALICE, MARKED, 0.0), name) - end) <= 1.5
    assert ends(Shown("bob@TEST.EXAMPLE", MARKED, 0.0), name) == 0.0
    assert ends(Shown(ALICE, MARKED, 0.0), name + "-none") == 0.0


def test_every_kind_of_cache_is_looked_at_the_same_way(kerberos: Kerberos, tmp_path: Path) -> None:
    """A collection of caches: its primary one counts, as for every other program."""
    (tmp_path / "dir").mkdir()
    name = f"DIR:{tmp_path}/dir"
    password = kerberos.realm.password("alice") + "\n"
    kerberos.realm.run(["kinit", "-l", "1h", "alice"], env={"KRB5CCNAME": name}, stdin=password)
    assert ends(Shown(ALICE, MARKED, 0.0), name) == pytest.approx(time.time() + 3600, abs=60)


# Failures


def test_a_failed_renewal_is_said_once_and_tried_again_after_longer_and_longer_pauses(
    console: Console, cache: Callable[..., str]
) -> None:
    cache("2h")
    console.judge.code = int(Code.DENIED)
    console.wait(3000)
    pauses = [round(b - a) for a, b in zip(console.sessions, console.sessions[1:], strict=False)]
    assert pauses[:6] == [60, 120, 240, 480, 600, 600]
    assert len(console.said) == 1 and "does not let this user in" in console.said[0]
    assert console.states[3] == "not-renewed 10 the guest does not let this user in"
    tried = len(console.sessions)
    cache("3h")
    console.wait(LOOK_EVERY)
    assert len(console.sessions) == tried + 1, "a ticket that is new again is no repetition"
    console.judge.code = 0
    console.wait(PAUSE_MAX + LOOK_EVERY)
    assert console.states[-1].startswith("renewed until=")
    cache("4h")
    console.judge.code = int(Code.TRY_LATER)
    console.wait(2 * LOOK_EVERY)
    assert len(console.said) == 2, "another failure after a success is news"


def test_a_guest_that_says_nothing_any_more_ends_nothing(console: Console, cache: Callable[..., str]) -> None:
    console.change = lambda direction, data: b""
    cache("2h")
    console.wait(200)
    assert console.sessions and "no guest answers" in console.said[0]
    assert not console.client.finished
    console.change = lambda direction, data: data
    console.wait(PAUSE_MAX)
    assert console.states[-1].startswith("renewed until=")


# A guest that begins anew


def test_an_announcement_is_answered_at_once_by_a_new_session(console: Console) -> None:
    console.wait(5)
    console.announce().settle()
    assert console.sessions == [5.0] and len(console.judge.claims) == 2
    assert console.states[-1].startswith("renewed until=") and console.said == []


def test_a_guest_that_announces_itself_all_the_time_is_answered_more_and_more_seldom(
    console: Console,
) -> None:
    for _ in range(3000):
        if console.guest.finished:
            console.announce()
        console.wait(1)
    gaps = [round(b - a) for a, b in zip(console.sessions, console.sessions[1:], strict=False)]
    assert gaps[:5] == [60, 120, 240, 480, 600]
    console.wait(4 * PAUSE_MAX)
    before = len(console.sessions)
    console.announce().settle()
    assert len(console.sessions) == before + 1, "after a quiet time the next one is answered at once"


def test_an_answer_that_failed_is_tried_again(console: Console) -> None:
    console.judge.code = int(Code.INTERNAL)
    console.announce().settle()
    assert console.sessions == [0.0] and console.states[-1].startswith("not-renewed 15 ")
    console.change = lambda direction, data: data if direction == "to_guest" else b""  # no announcement
    console.wait(LOOK_EVERY - 1)
    console.judge.code, console.change = 0, lambda direction, data: data
    console.wait(2)
    assert console.sessions == [0.0, LOOK_EVERY] and console.states[-1].startswith("renewed until=")


def test_an_announcement_waits_until_there_is_a_ticket(console: Console, cache: Callable[..., str]) -> None:
    path = Path(cache("1h")[5:])
    path.unlink()
    console.announce().wait(600)
    assert console.sessions == [] and console.said == []
    cache("1h")
    console.wait(LOOK_EVERY)
    assert len(console.sessions) == 1 and len(console.judge.claims) == 2


@pytest.mark.parametrize(
    "octets",
    [
        b"hello\n",
        ANNOUNCEMENT[:-1],
        ANNOUNCEMENT.replace(b" guest ", b" client "),
        ANNOUNCEMENT.replace(b" - GSSAPI", b" AAECAwQFBgcICQoLDA0ODw== GSSAPI"),
        b"\x17\x03\x03\x00\x13" + bytes(19),
    ],
)
def test_nothing_else_that_comes_meanwhile_begins_a_session(console: Console, octets: bytes) -> None:
    console.client.receive_data(octets, console.now)
    console.wait(300)
    assert console.sessions == [] and not console.client.finished


def test_a_guest_that_floods_is_left(console: Console) -> None:
    for _ in range(5):
        console.client.receive_data(bytes(65536), console.now)
    assert console.client.outcome.exit == Exit.PROTOCOL


def test_the_ticket_goes_to_the_same_service_only(kerberos: Kerberos, cache: Callable[..., str]) -> None:
    """The guest named itself, and a person said yes: what it calls itself later is not asked for."""
    names, asked = iter([DELEG, "host/other.test.example"]), list[str]()

    def yes(spn: str, principal: str) -> bool:
        asked.append(spn)
        return True

    console = Console(
        ClientPolicy(spn_patterns=("imap/*",)),
        GuestPolicy(),
        mechanisms={"GSSAPI": kerberos.guest("deleg", DELEG)},
        info=lambda attribute: next(names),
        person=Person(accept_spn=yes, console="unix:/run/vm7.sso"),
        ccache=cache("1h"),
    )
    console.run()
    assert console.client.signed_in and asked == [DELEG]
    console.announce().settle()
    assert len(console.judge.claims) == 2 and console.to_guest.count(b"info spn") == 1
    console._arguments["GSSAPI"] = kerberos.guest("other", "host/other.test.example")
    cache("2h")
    console.wait(100)
    assert (len(console.judge.claims), len(console.said), asked) == (2, 1, [DELEG])


# A password


def test_a_password_is_not_handed_over_again(tls_flow: Flow) -> None:
    console = Console(tls_flow.client, tls_flow.guest, mechanisms=tls_flow.mechanisms, person=tls_flow.person)
    console.run()
    sent = len(console.to_guest)
    assert console.states == ["signing-in alice", "signed-in", "staying"]
    assert console.client.deadline is None, "it waits for nothing but the end"
    console.announce().wait(1000)
    assert console.sessions == [] and len(console.to_guest) == sent
    console.client.receive_data(b"", console.now)
    assert console.client.outcome.exit == Exit.SIGNED_IN


def test_nothing_is_said_behind_the_guests_last_word(tls_gss_flow: Flow) -> None:
    """A close_notify would be the first bytes of a next client, for whom the guest announces itself."""
    console = Console(tls_gss_flow.client, tls_gss_flow.guest, mechanisms=tls_gss_flow.mechanisms)
    console.run()
    assert console.client.signed_in and console.guests_used == 1


# The end


@pytest.mark.parametrize("when", ["between", "within"])
def test_the_console_is_left(console: Console, cache: Callable[..., str], when: str) -> None:
    if when == "within":
        cache("2h")
        console.change = lambda direction, data: b""
        console.wait(LOOK_EVERY + 1)
        assert console.sessions
    console.client.receive_data(b"", console.now)
    assert (console.client.outcome.exit, console.said) == (Exit.SIGNED_IN, [])
    assert console.client.outcome.line == "signed in, and the console was left"


def test_what_goes_wrong_before_the_login_ends_it_as_ever(gss_flow: Flow) -> None:
    for judge, cut, exit in ((Judge(int(Code.DENIED)), None, 10), (Judge(), ("to_client", 300), 14)):
        console = Console(
            gss_flow.client, gss_flow.guest, mechanisms=gss_flow.mechanisms, judge=judge, cut=cut
        )
        console.run()
        assert console.client.outcome.exit == exit and not console.client.signed_in
        assert console.states == [f"signing-in {ALICE}"]


# What it costs and keeps


def test_an_idle_hour_costs_sixty_looks_and_nothing_else(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, (ours, theirs) = World(monkeypatch), socket.socketpair()
    world.now = console.now
    looks: list[float] = []

    def look(shown: Shown) -> float:
        looks.append(world.now)
        if len(looks) == 60:
            theirs.close()
        return console.ends(shown)

    console.client._ends = look
    port = open_port(f"fd:{ours.fileno()}")
    assert world.run(port, console.client) == "hang-up"
    port.close()
    ours.close()
    assert console.client.outcome.exit == Exit.SIGNED_IN
    assert len(looks) == 60 and abs(looks[-1] - 3600) < 5
    assert world.turns == 61, "one wake-up a minute, and the hang-up"


def test_a_client_without_a_ticket_sleeps_for_ever(tls_flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(tls_flow.client, tls_flow.guest, mechanisms=tls_flow.mechanisms, person=tls_flow.person)
    console.run()
    world, (ours, theirs) = World(monkeypatch), socket.socketpair()
    world.actions = iter([theirs.close])
    port = open_port(f"fd:{ours.fileno()}")
    assert world.run(port, console.client) == "hang-up"
    port.close()
    ours.close()
    assert world.turns == 1


@pytest.mark.parametrize("name", ["tls_flow", "gss_flow", "ticket_flow"])
def test_nothing_of_a_session_that_is_over_is_kept(
    request: pytest.FixtureRequest, kerberos: Kerberos, name: str
) -> None:
    flow: Flow = request.getfixturevalue(name)
    gc.collect()
    gc.disable()
    try:
        console = Console(flow.client, flow.guest, mechanisms=flow.mechanisms, person=flow.person)
        console.run()
        console.announce().settle()
        assert [one() for one in console.made] == [None] * (1 if name == "tls_flow" else 2)
    finally:
        gc.enable()
    staying = console.client
    assert staying.signed_in and staying.data_to_send() == b""
    kept = repr([vars(staying), vars(staying._ear)]).encode()
    assert not leaks(kept, [PASSWORD, *kerberos.secrets()])
