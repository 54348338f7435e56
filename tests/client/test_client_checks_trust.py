"""sso doctor client where realms trust each other, and where krb5.conf includes what is not there."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sso import doctor
from sso.demo.realm import Realm

SPN = "host/vm.far.example@FAR.EXAMPLE"
TRUST = "krbtgt/FAR.EXAMPLE@NEAR.EXAMPLE"


@pytest.fixture(scope="module")
def near() -> Iterator[Realm]:
    """The realm of alice, whose users the realm of the guests trusts."""
    with Realm("NEAR.EXAMPLE") as near, Realm("FAR.EXAMPLE") as far:
        near.principal("alice", "alice-is-near")
        far.principal(SPN, None, ["+ok_as_delegate"])
        far.know(near, trust=True)
        near.know(far)
        yield near


@pytest.fixture
def desktop(near: Realm, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name, value in near.env.items():
        if name.startswith("KRB5"):
            monkeypatch.setenv(name, value)
    config = tmp_path / "krb5.conf"
    config.write_text(near.krb5_conf.read_text())
    monkeypatch.setenv("KRB5_CONFIG", str(config))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    near.kinit("alice", "-f")
    return config


def say(capsys: pytest.CaptureFixture[str]) -> str:
    doctor.main(["client", "--spn", SPN, "--allowed-spn", "host/*@FAR.EXAMPLE", "--ask-kdc"])
    return capsys.readouterr().out


def test_a_trust_that_is_not_ok_as_delegate_is_named(
    near: Realm, desktop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = say(capsys)
    assert f"the trust {TRUST} is not ok-as-delegate" in said
    assert f"kadmin modprinc +ok_as_delegate {TRUST}" in said
    near.kadmin(f"modprinc +ok_as_delegate {TRUST}")
    near.kinit("alice", "-f")
    assert "your ticket goes along: the service is ok-as-delegate" in say(capsys), "the cure is one"


@pytest.mark.parametrize(
    "line", ["includedir {}/missing.d/", "include {}/missing.conf", "includedir missing.d"]
)
def test_what_krb5_conf_includes_and_is_not_there_is_named(
    desktop: Path, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    assert f"ok           Kerberos file: what {desktop} includes is there" in say(capsys)
    (desktop.parent / "more.d").mkdir()
    (desktop.parent / "more.d/one").write_text(line.format(desktop.parent) + "\n")
    desktop.write_text(f"includedir {desktop.parent}/more.d\n" + desktop.read_text())
    said = say(capsys)
    assert f"wrong        Kerberos file: {desktop.parent}/more.d/one includes " in said
    assert "missing" in said and "the check itself failed" not in said
