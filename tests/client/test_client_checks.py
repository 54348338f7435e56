"""sso doctor client with a real KDC: nothing is wrong with a healthy one, what is broken is named."""

import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from beds import Certificates
from sso_mechs.ccache import Ticket, write

from sso import doctor
from sso.demo.realm import Realm

SPN = "host/deleg.test.example"
PLAIN = "host/guest.test.example"  # which the KDC has not marked ok-as-delegate

Lines = list[dict[str, str]]
Ask = Callable[..., Lines]


@pytest.fixture
def ask(
    realm: Realm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Ask:
    """What the doctor says to options of the client; alice has a ticket unless told otherwise."""
    for name, value in realm.env.items():
        if name.startswith("KRB5"):
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("KRB5CCNAME", f"FILE:{tmp_path}/ccache")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))

    def run(*options: str, ticket: str = "alice", kinit: tuple[str, ...] = ("-f",)) -> Lines:
        if ticket:
            realm.kinit(ticket, *kinit, ccache=tmp_path / "ccache")
        code = doctor.main(["client", "--json", *options])
        said = json.loads(capsys.readouterr().out)
        assert code == (1 if said["wrong"] else 0)
        lines: Lines = said["findings"]
        assert not [each for each in lines if "the check itself failed" in each["found"]]
        return lines

    return run


def of(lines: Lines, state: str) -> list[str]:
    return [f"{each['step']}: {each['found']}. {each['mend']}" for each in lines if each["state"] == state]


def test_a_healthy_client(ask: Ask) -> None:
    lines = ask("--spn", SPN, "--ask-kdc")
    assert [each["state"] for each in lines] == ["ok"] * len(lines)
    said = of(lines, "ok")
    assert any(re.match(r"ticket: alice@TEST\.EXAMPLE, until \d\d:\d\d on ", line) for line in said)
    assert "ticket: the ticket may be forwarded. " in said and "realm: TEST.EXAMPLE. " in said
    assert f"service: the KDC gives a ticket for {SPN} (kvno 1), and takes this machine's clock. " in said
    assert "service: your ticket goes along: the service is ok-as-delegate. " in said


def test_a_guest_whose_key_has_changed(ask: Ask, realm: Realm, tmp_path: Path) -> None:
    """As when it was set up anew: the ticket in the cache is for the key before, until it ends."""
    spn = "host/changed.test.example"
    realm.principal(spn, options=["+ok_as_delegate"])
    lines = ask("--spn", spn, "--ask-kdc")
    assert of(lines, "wrong") == []
    realm.kadmin(f"cpw -randkey {spn}")
    before = (tmp_path / "ccache").read_bytes()
    (line,) = of(ask("--spn", spn, "--ask-kdc", ticket=""), "wrong")
    assert line == (
        f"service: the ticket for {spn} is for its key number 1, and the KDC has number 2 now. "
        "Get a new ticket: kdestroy, then kinit"
    )
    assert (tmp_path / "ccache").read_bytes() == before, "nothing is put into the cache"
    assert of(ask("--spn", spn, "--ask-kdc"), "wrong") == []


def test_nobody_is_asked_unless_told(ask: Ask, realm: Realm) -> None:
    before = realm.log().count("TGS_REQ")
    lines = ask("--spn", SPN)
    assert realm.log().count("TGS_REQ") == before
    assert of(lines, "not checked") == [f"service: whether the KDC knows {SPN}: --ask-kdc asks it. "]
    assert of(lines, "wrong") == []


def test_without_a_service_there_is_one_thing_less_to_look_at(ask: Ask) -> None:
    lines = ask("--ask-kdc")
    assert [line for line in of(lines, "not checked") if "no --spn is given" in line] and not of(
        lines, "wrong"
    )


def config(folder: Path, text: str) -> None:
    (folder / "console-sso").mkdir()
    (folder / "console-sso/client.toml").write_text(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("spm = 1", "unknown key 'spm'"),
        ('tls-ca = "/x"', "add --tls-name"),
        ("=", "client.toml"),
        ("password = true", "--password needs --tls-name"),
    ],
)
def test_a_wrong_configuration(ask: Ask, tmp_path: Path, text: str, found: str) -> None:
    config(tmp_path, text)
    (line,) = of(ask(), "wrong")
    assert line.startswith("configuration: ") and found in line


def test_a_good_configuration_is_named(ask: Ask, tmp_path: Path) -> None:
    config(tmp_path, "stay = true")
    assert any(f"{tmp_path}/console-sso/client.toml; at least sasl-conf" in line for line in of(ask(), "ok"))


def test_no_ticket(ask: Ask) -> None:
    lines = ask("--spn", SPN, "--ask-kdc", ticket="")
    (line,) = of(lines, "wrong")
    assert line.startswith("ticket: there is no Kerberos ticket") and line.endswith(". Run: kinit")
    assert of(lines, "not checked") == [f"service: {SPN}: there is no ticket to ask with. "]


def test_a_ticket_that_cannot_be_forwarded(ask: Ask) -> None:
    (line,) = of(ask("--spn", SPN, kinit=("-F",)), "wrong")
    assert "may not be forwarded, so the guest gets none. Run: kinit -f" in line
    assert of(ask("--spn", SPN, "--send-ticket", kinit=("-F",)), "wrong") == []


def test_a_ticket_that_ends_soon(ask: Ask) -> None:
    (line,) = of(ask(kinit=("-f", "-l", "5m")), "warning")
    assert "ticket: alice@TEST.EXAMPLE, only until" in line and "kinit -R" in line


def test_a_ticket_that_has_expired(ask: Ask, tmp_path: Path) -> None:
    now = int(time.time())
    times = (now - 7200, now - 7200, now - 3600, 0)
    names = ("alice@TEST.EXAMPLE", "krbtgt/TEST.EXAMPLE@TEST.EXAMPLE")
    (tmp_path / "ccache").write_bytes(write(Ticket(*names, 18, bytearray(32), *times, 0x40000000, b"0")))
    (line,) = of(ask(ticket=""), "wrong")
    assert line.startswith("ticket: the Kerberos ticket has expired") and line.endswith(". Run: kinit")


def test_a_cache_that_is_named(ask: Ask, tmp_path: Path) -> None:
    (line,) = of(ask("--ccache", f"FILE:{tmp_path}/nonsuch"), "wrong")
    assert line.startswith("ticket: there is no Kerberos ticket")


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (("--spn", "host/nonsuch.test.example"), r"does not know .*kadmin addprinc -randkey host/nonsuch"),
        (("--spn", PLAIN), rf"is not ok-as-delegate.*kadmin modprinc \+ok_as_delegate {PLAIN}"),
        (
            ("--spn", "imap/x.test.example"),
            r'none of the allowed services \(host/\*\).*--allowed-spn "imap/x',
        ),
        (("--spn", "host/x@OTHER.EXAMPLE"), r"none of the allowed services"),
    ],
)
def test_what_the_kdc_says_of_a_service(ask: Ask, options: tuple[str, ...], found: str) -> None:
    (line,) = of(ask(*options, "--ask-kdc"), "wrong")
    assert line.startswith("service: ") and re.search(found, line)


def test_a_ticket_that_is_always_offered(ask: Ask) -> None:
    lines = ask("--spn", PLAIN, "--ask-kdc", "--offer-tgt")
    assert "service: your ticket goes along, by --offer-tgt. " in of(lines, "ok")


def test_a_service_that_is_in_the_cache_needs_no_mark_for_a_ticket_that_is_sent(ask: Ask) -> None:
    lines = ask("--spn", PLAIN, "--ask-kdc", "--send-ticket")
    assert of(lines, "wrong") == [] and any("is not ok-as-delegate" in line for line in of(lines, "warning"))


def test_without_klist_flags_are_not_checked(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "SEARCH_PATH", "/nonsuch")
    lines = ask("--spn", SPN, "--ask-kdc")
    assert of(lines, "wrong") == [] and len(of(lines, "not checked")) == 2


def test_a_kdc_that_does_not_answer(ask: Ask, realm: Realm) -> None:
    ask("--spn", PLAIN)
    realm.stop()
    try:
        (line,) = of(ask("--spn", PLAIN, "--ask-kdc", ticket=""), "wrong")
    finally:
        realm.start()
    assert "the KDC does not answer" in line and "See to it that the KDC" in line


def test_a_clock_that_is_wrong(realm: Realm, tmp_path: Path) -> None:
    ccache = realm.kinit("alice", "-f", ccache=tmp_path / "ccache")
    argv = [sys.executable, "-I", "-m", "sso.cli", "doctor", "client", "--json", "--no-config"]
    argv += ["--spn", PLAIN, "--ask-kdc"]
    done = realm.run(["faketime", "-f", "+400s", *argv], env={"KRB5CCNAME": f"FILE:{ccache}"}, check=False)
    (line,) = of(json.loads(done.stdout)["findings"], "wrong")
    assert line.startswith("service: the clocks differ too much") and "timedatectl set-ntp true" in line


def test_a_realm_that_is_not_the_tickets(
    ask: Ask, realm: Realm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask()
    text = realm.krb5_conf.read_text().replace(
        "default_realm = TEST.EXAMPLE", "default_realm = OTHER.EXAMPLE"
    )
    (tmp_path / "krb5.conf").write_text(text)
    monkeypatch.setenv("KRB5_CONFIG", str(tmp_path / "krb5.conf"))
    (line,) = of(ask(ticket=""), "warning")
    assert "the ticket is of TEST.EXAMPLE" in line and "looked for in OTHER.EXAMPLE. Give the realm" in line


def test_a_missing_library(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    ask()
    for name in [name for name in sys.modules if name.partition(".")[0] in ("gssapi", "sso_mechs")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "gssapi", None)
    lines = of(ask("--spn", SPN, ticket=""), "wrong")
    assert lines[0].startswith("mechanisms: unavailable: GSSAPI") and "apt install python3-gssapi" in lines[0]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (None, "No such file or directory. Write the right path as --tls-ca"),
        ("hello", "holds no certificate"),
    ],
)
def test_a_ca_that_cannot_be_read(ask: Ask, tmp_path: Path, content: str | None, found: str) -> None:
    ca = tmp_path / "ca.pem"
    if content is not None:
        ca.write_text(content)
    (line,) = of(ask("--tls-name", "guest.test.example", "--tls-ca", str(ca)), "wrong")
    assert line.startswith(f"TLS: {ca}") and found in line


def test_a_ca(ask: Ask, certificates: Certificates) -> None:
    lines = ask("--tls-name", "guest.test.example", "--tls-ca", str(certificates.ca))
    assert of(lines, "wrong") == [] and f"TLS: guest.test.example, by {certificates.ca}. " in of(lines, "ok")


def test_a_keyring_without_its_program(ask: Ask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    options = ("--password", "--keyring", "--tls-name", "guest.test.example")
    program = tmp_path / "secret-tool"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    ask()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "password: from the keyring or the terminal. " in of(ask(*options, ticket=""), "ok")
    program.unlink()
    (line,) = of(ask(*options, ticket=""), "wrong")
    assert line.endswith("On Debian: apt install libsecret-tools")


def test_with_a_password_a_ticket_is_not_needed(ask: Ask) -> None:
    lines = ask("--password", "--tls-name", "guest.test.example", ticket="")
    assert of(lines, "wrong") == [] and any(
        "there is no Kerberos ticket" in line for line in of(lines, "warning")
    )


def test_wrong_usage_is_that_of_the_client(ask: Ask, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^2$"):
        ask("--nonsuch", ticket="")
    assert "usage: spice-client-sso" in capsys.readouterr().err
