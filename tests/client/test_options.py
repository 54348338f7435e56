"""The client's options: what is refused, what wins, and that errors name what to mend."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sso.client.exits import MEANING, Exit
from sso.client.flags import OPTIONS
from sso.client.main import main
from sso.client.options import _SWITCHES, _TEXTS, parse, plain
from sso.client.usage import parser
from sso.errors import ConfigError

PIN = "sha256:" + "ab" * 32


@pytest.mark.proves("S110", "S111", "S112", "S113", "S114")
def test_everything_weak_is_off_by_default() -> None:
    policy = parse(["--no-config"]).policy
    assert policy.required == "sasl-conf" and not policy.wants_tls
    assert not (policy.trust_any_spn or policy.offer_tgt or policy.send_ticket or policy.password)
    assert policy.spn == "" and policy.spn_patterns == ("host/*",)


def test_options_become_policy() -> None:
    options = parse(
        ["--no-config", "--spn", "host/vm", "--offer-tgt", "--send-ticket", "--port", "fd:3", "-v"]
    )
    assert (options.port, options.verbose, options.policy.spn) == ("fd:3", 1, "host/vm")
    assert options.policy.offer_tgt and options.policy.send_ticket
    pinned = parse(["--no-config", "--tls-pin", PIN, "--password", "--user", "alice"])
    assert pinned.policy.required == "tls" and pinned.policy.tls_pins == (bytes.fromhex("ab" * 32),)
    assert pinned.user == "alice"
    assert not options.stay and options.status_fd is None
    staying = parse(["--no-config", "--stay", "--status-fd", "2"])
    assert staying.stay and staying.status_fd == 2


FLAGS = [flag for flag, _, _ in OPTIONS]
VALUES = [
    "host/vm",
    "3",
    "-1",
    "007",
    "9" * 5000,
    "",
    "-",
    "--",
    "-v",
    "tls",
    "a=b",
    "a b",
    "\u0663",
    "stdio",
]
words = st.sampled_from([*FLAGS, "-v", "-vv", "--verbose", "--verb", "--sp", "--help", "--version", *VALUES])
joined = st.builds("{}={}".format, st.sampled_from([*FLAGS, "--verbose", "-v"]), st.sampled_from(VALUES))


@given(st.lists(words | joined, max_size=6))
def test_the_quick_look_finds_what_argparse_finds_or_nothing(words: list[str]) -> None:
    found = plain(words)
    assert found is None or found == vars(parser().parse_args(words))


@pytest.mark.parametrize(("flag", "settings"), [(flag, settings) for flag, settings, _ in OPTIONS])
def test_every_option_that_is_written_out_needs_no_argparse(flag: str, settings: dict[str, Any]) -> None:
    switch = settings.get("action") == "store_true"
    value = "7" if settings.get("type") is int else settings.get("choices", ("host/vm",))[0]
    for words in [[flag]] if switch else [[flag, value], [f"{flag}={value}"], [flag, value, flag, value]]:
        assert plain([*words, "-v"]) == vars(parser().parse_args([*words, "-v"]))


@pytest.mark.parametrize("words", [["--trust"], ["--sp", "host/vm"], ["--nothing"], ["host/vm"], ["--spn"]])
def test_a_word_that_is_no_option_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Shortened ones too: the next option could change what they mean."""
    with pytest.raises(SystemExit) as end:
        parse(words)
    assert end.value.code == 2 and "usage: spice-client-sso" in capsys.readouterr().err


def test_a_file_of_comments_needs_no_parser(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """That is the one which is installed."""
    installed = Path(__file__).resolve().parents[2] / "data" / "client.toml"
    monkeypatch.setitem(sys.modules, "tomllib", None)
    assert parse(["--config", str(installed)]) == parse(["--no-config"])
    spread = tmp_path / "client.toml"
    spread.write_bytes(b"# a\r\n\r\n  \t# b\n#")
    assert parse(["--config", str(spread)]) == parse(["--no-config"])
    spread.write_bytes(b"# a\ruser = 'ann'")
    with pytest.raises(ImportError):
        parse(["--config", str(spread)])


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--password"], "--tls-name"),
        (["--tls-ca", "ca.pem"], "--tls-name"),
        (["--require", "tls"], "--tls-name"),
        (["--offer-tgt", "--trust-any-spn"], "choose one"),
        (["--tls-pin", "sha256:abc"], "64 hexadecimal"),
        (["--tls-pin", "ab" * 32], "sha256:"),
        (["--status-fd", "1"], "is the port itself"),
        (["--port", "fd:3", "--status-fd", "3"], "is the port itself"),
    ],
)
def test_weak_or_wrong_combinations_are_refused(
    arguments: list[str], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match=word):
        parse(["--no-config", *arguments])
    assert main(["--no-config", *arguments]) == Exit.USAGE
    said = capsys.readouterr()
    assert said.out == "" and len(said.err.splitlines()) == 1


def test_a_file_gives_defaults_and_tables_for_some_guests(tmp_path: Path) -> None:
    path = tmp_path / "client.toml"
    path.write_text('offer-tgt = true\n[[guest]]\nspn = "host/lab-*"\noffer-tgt = false\nuser = "ann"\n')
    assert parse(["--config", str(path), "--spn", "host/vm"]).policy.offer_tgt
    lab = parse(["--config", str(path), "--spn", "host/lab-1"])
    assert not lab.policy.offer_tgt and lab.user == "ann"
    assert parse(["--config", str(path), "--spn", "host/lab-1", "--offer-tgt"]).policy.offer_tgt


def test_a_stranger_may_choose_among_the_pins_and_never_add_one(tmp_path: Path) -> None:
    other = "sha256:" + "cd" * 32
    path = tmp_path / "client.toml"
    path.write_text(f'[[guest]]\nspn = "host/lab-*"\ntls-pin = ["{PIN}", "{other}"]\n')
    lab = ["--config", str(path), "--spn", "host/lab-1"]
    assert len(parse(lab).policy.tls_pins) == 2
    assert parse([*lab, "--only-pin", other]).policy.tls_pins == (bytes.fromhex("cd" * 32),)
    assert parse([*lab, f"--only-pin={PIN.replace('ab', 'AB')}"]).policy.tls_pins == (b"\xab" * 32,)
    for arguments in (
        [*lab, "--only-pin", "sha256:" + "ef" * 32],
        ["--config", str(path), "--spn", "host/vm", "--only-pin", PIN],
        ["--no-config", "--only-pin", PIN],
        ["--no-config", "--tls-name", "vm.example.org", "--only-pin", PIN],
    ):
        with pytest.raises(ConfigError, match="no such tls-pin for this guest"):
            parse(arguments)
    with pytest.raises(ConfigError, match="--only-pin has to be"):
        parse([*lab, "--only-pin", "ab" * 32])


def test_no_file_has_only_pin(tmp_path: Path) -> None:
    path = tmp_path / "client.toml"
    path.write_text(f'tls-pin = ["{PIN}"]\nonly-pin = "{PIN}"\n')
    with pytest.raises(ConfigError, match="unknown key 'only-pin'"):
        parse(["--config", str(path)])


def test_a_file_may_say_where_to_stay(tmp_path: Path) -> None:
    path = tmp_path / "client.toml"
    path.write_text('[[guest]]\nspn = "host/lab-*"\nstay = true\n')
    assert not parse(["--config", str(path), "--spn", "host/vm"]).stay
    assert parse(["--config", str(path), "--spn", "host/lab-1"]).stay


def test_the_example_file_names_every_key_and_each_default(tmp_path: Path) -> None:
    """data/client.toml with nothing commented out is a configuration that changes nothing."""
    example = Path(__file__).resolve().parents[2] / "data" / "client.toml"
    keys = re.findall(r"^#([a-z-]+ = .*)$", example.read_text().partition("#[[guest]]")[0], re.MULTILINE)
    path = tmp_path / "client.toml"
    path.write_text("\n".join(keys))
    assert len(keys) == len(_SWITCHES) + len(_TEXTS) + 3
    assert parse(["--config", str(path)]) == parse(["--no-config"])


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("offer_tgt = true\n", "offer_tgt"),
        ('offer-tgt = "yes"\n', "offer-tgt: write true or false"),
        ("[[guest]]\nuser = 'a'\n", "spn ="),
        ("= 1\n", "client.toml"),
        ('require = "none"\n', "require"),
    ],
)
def test_a_wrong_file_is_named_with_what_to_mend(tmp_path: Path, text: str, word: str) -> None:
    path = tmp_path / "client.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=word):
        parse(["--config", str(path)])


def test_a_file_that_was_named_has_to_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        parse(["--config", str(tmp_path / "none.toml")])


def test_help_explains_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        parse(["--help"])
    assert end.value.code == 0
    said = capsys.readouterr().out
    assert all(text in said for text in MEANING.values()) and set(MEANING) == set(Exit)
    assert said.count("default:") >= 15


@pytest.mark.parametrize("address", ["nowhere", "tcp:host", "fd:x", "unix:"])
def test_a_wrong_port_names_the_known_forms(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--no-config", "--port", address]) == Exit.USAGE
    assert "unix:PATH" in capsys.readouterr().err


def test_a_port_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--no-config", "--port", f"unix:{tmp_path}/none"]) == Exit.LOST
    assert "none" in capsys.readouterr().err


@pytest.mark.parametrize("fd", ["987", "-1", "99999999999999999999"])
def test_a_status_descriptor_that_is_not_open_is_named(fd: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--no-config", "--port", "fd:2", "--status-fd", fd]) == Exit.USAGE
    assert f"--status-fd {fd}" in capsys.readouterr().err


GENEROUS = ("offer-tgt", "send-ticket", "password")


@pytest.mark.parametrize("option", ["--spn", "--asked-spn"])
def test_a_guest_that_only_a_file_names_gets_what_is_meant_for_it(option: str, tmp_path: Path) -> None:
    """A web page may name any host of the realm: what is meant for all of them is not meant for that one."""
    everybody = "".join(f"{key} = true\n" for key in GENEROUS) + f'tls-pin = ["{PIN}"]\n'
    file = tmp_path / "client.toml"
    file.write_text(everybody)
    asked = ["--config", str(file), option, "host/vm7.example.org"]
    given = parse([*asked, "--stay"])
    policy = given.policy
    assert policy.spn == "host/vm7.example.org" and given.stay
    assert {policy.offer_tgt, policy.send_ticket, policy.password} == {option == "--spn"}
    switched = parse([*asked, "--offer-tgt", "--send-ticket", "--password"]).policy
    assert {switched.offer_tgt, switched.send_ticket, switched.password} == {option == "--spn"}
    file.write_text(f'[[guest]]\nspn = "host/vm7.*"\n{everybody}')
    policy = parse(asked).policy
    assert policy.offer_tgt and policy.send_ticket and policy.password


def test_trust_in_any_name_does_not_come_with_a_file(tmp_path: Path) -> None:
    file = tmp_path / "client.toml"
    file.write_text("trust-any-spn = true\n")
    assert parse(["--config", str(file)]).policy.trust_any_spn
    assert not parse(["--config", str(file), "--asked-spn", "host/vm"]).policy.trust_any_spn
    with pytest.raises(ConfigError, match="give one of them"):
        parse(["--no-config", "--asked-spn", "host/vm", "--spn", "host/vm"])


TABLE = '[mechanism.X-ONE]\nuser = "ann"\nmany = ["a", "b"]\n'


def test_the_order_of_mechanisms_is_the_configurations(tmp_path: Path) -> None:
    path = tmp_path / "client.toml"
    path.write_text('mechanisms = ["X-ONE", "GSSAPI"]\n' + TABLE)
    found = parse(["--config", str(path)])
    assert found.policy.mechanisms == ("X-ONE", "GSSAPI")
    assert found.tables == {"X-ONE": {"user": "ann", "many": ("a", "b")}}
    assert parse(["--no-config"]).policy.mechanisms == ("GSSAPI", "password")


def test_a_guest_that_only_a_file_has_named_gets_it_by_a_table_alone(tmp_path: Path) -> None:
    path = tmp_path / "client.toml"
    path.write_text('mechanisms = ["X-ONE"]\n[[guest]]\nspn = "host/lab-*"\nmechanisms = ["X-TWO"]\n')

    def order(spn: str) -> tuple[str, ...]:
        return parse(["--config", str(path), "--asked-spn", spn]).policy.mechanisms

    assert order("host/vm") == ("GSSAPI", "password") and order("host/lab-1") == ("X-TWO",)


@pytest.mark.parametrize(
    "text",
    [
        "mechanisms = []",
        'mechanisms = ["X", "X"]',
        "mechanisms = [1]",
        'mechanisms = "X"',
        "[mechanism]\nX = 1",
        "[mechanism.X]\ny = 1.5",
        "[[mechanism]]\ny = 1",
    ],
)
def test_a_wrong_order_or_table_is_named(text: str, tmp_path: Path) -> None:
    path = tmp_path / "client.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match="mechanism"):
        parse(["--config", str(path)])
