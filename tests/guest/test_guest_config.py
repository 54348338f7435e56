"""guest.toml: every option, its default and its example; whatever is wrong names file, key and cure."""

import os
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from sso.errors import ConfigError
from sso.guest import config
from sso.guest.config import GuestConfig, load, parse

EXAMPLE = Path(__file__).resolve().parents[2] / "data" / "guest.toml"
SPN = "host/guest.example.org"


def write(folder: Path, text: str, mode: int = 0o644) -> str:
    path = folder / "guest.toml"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_defaults_are_the_careful_ones(tmp_path: Path) -> None:
    found = load(write(tmp_path, f'spn = "{SPN}"\n'))
    assert found == GuestConfig(spn=SPN)
    assert not found.accept_identity and found.min_uid == 1000 and found.grant_seconds == 30
    assert "password" not in found.mechanisms


def test_every_option_is_in_the_example_with_its_default_and_in_the_docstring() -> None:
    text = EXAMPLE.read_text()
    shown = tomllib.loads(re.sub(r"(?m)^#(?=[a-z_]+ = )", "", text))
    shown["spn"] = ""  # the example shows one
    defaults = {key: value for key, value in GuestConfig._field_defaults.items() if key != "mechanism"}
    lists = {key: list(value) if isinstance(value, tuple) else value for key, value in defaults.items()}
    assert shown == lists
    assert config.__doc__ is not None
    assert all(re.search(rf"(?m)^ *{key} ", config.__doc__) for key in defaults)
    assert load_text(text) == GuestConfig(spn="host/vm.example.org")


def load_text(text: str) -> GuestConfig:
    return parse(tomllib.loads(text), lambda: "VM.example.org")


def test_every_option_can_be_set() -> None:
    values: dict[str, Any] = {
        "port": "unix:/run/x.sock",
        "mechanisms": ["TLS", "password", "X-OTHER"],
        "spn": "HTTP/a.b@REALM",
        "keytab": "/k",
        "tls_certificate": "/c",
        "tls_key": "/d",
        "require_tls": True,
        "channel_user": "one",
        "acceptor_user": "two",
        "login": "greetd",
        "service": "gdm-x",
        "tty": "pts/3",
        "login_cgroup": "",
        "pam_socket": "/p",
        "getty_socket": "/g",
        "greeter_socket": "/r",
        "greeter_user": "greeter",
        "verdict_socket": "/v",
        "lockers": ["my-locker"],
        "channel_socket": "/h",
        "acceptor_socket": "/a",
        "accept_identity": True,
        "min_uid": 500,
        "allowed_groups": ["staff"],
        "grant_seconds": 60,
        "disconnect": "log-off",
        "grace_seconds": 0,
        "park_tickets": True,
        "ticket_store": "default",
    }
    assert values.keys() == set(GuestConfig._fields) - {"mechanism"}  # the tables, below
    found = parse(values)
    assert all(getattr(found, key) == (tuple(v) if isinstance(v, list) else v) for key, v in values.items())


TABLES = 'spn = "host/a.b"\nmechanisms = ["GSSAPI", "X-ONE", "X-TWO"]\n'


def test_a_mechanism_has_a_table_and_its_own_accept_identity() -> None:
    text = TABLES + '[mechanism.X-ONE]\naccept_identity = true\npath = "/p"\nmany = ["a", "b"]\ncount = 3\n'
    found = load_text(text)
    assert found.table("X-ONE") == {"path": "/p", "many": ("a", "b"), "count": 3}
    assert found.table("X-TWO") == {}
    accepted = [name for name in ("GSSAPI", "X-ONE", "X-TWO", "") if found.accepts_identity(name)]
    assert accepted == ["X-ONE"]
    top = load_text("accept_identity = true\n" + TABLES)
    assert [name for name in ("GSSAPI", "kerberos", "X-ONE", "") if top.accepts_identity(name)] == ["GSSAPI"]


@pytest.mark.parametrize(
    ("lines", "cure"),
    [
        ("[mechanism.X-THREE]", "write X-THREE in mechanisms too"),
        ('[mechanism.GSSAPI]\nspn = "host/c.d"', "above all tables"),
        ("[mechanism.X-ONE]\naccept_identity = 1", "true or false"),
        ("[mechanism.X-ONE]\nkey = 1.5", "key: write a text"),
        ("[mechanism.X-ONE]\nkey = [1]", "key: write a text"),
        ("[mechanism.X-ONE.more]\nkey = 1", "more: write a text"),
        (f'[mechanism.X-ONE]\nkey = "{"x" * 4097}"', "at most 4096"),
        (f"[mechanism.X-ONE]\nkey = {['x'] * 257}", "at most 4096 letters, and 256"),
        (f"[mechanism.X-ONE]\n{'k' * 65} = 1", "at most 64 letters"),
        ("[mechanism.X-ONE]\n" + "".join(f"k{n} = 1\n" for n in range(65)), "at most 64 keys"),
        ("[[mechanism]]\nname = 1", "below [mechanism.NAME]"),
    ],
)
def test_what_is_wrong_with_a_table_is_named(lines: str, cure: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(cure)):
        load_text(TABLES + lines)


@pytest.mark.parametrize(
    ("line", "key", "cure"),
    [
        ("prot = 1", "prot", "no such option"),
        ("port = 1", "port", "in quotes"),
        ('port = "serial0"', "port", "virtio:NAME"),
        ('disconnect = "shutdown"', "disconnect", '"lock", "nothing" or "log-off"'),
        ("grace_seconds = 86401", "grace_seconds", "0 to 86400"),
        (
            'verdict_socket = "/run/console-sso/pam.sock"',
            "verdict_socket",
            "another path than that of pam_socket",
        ),
        ("mechanisms = []", "mechanisms", "at least one"),
        ('mechanisms = ["TLS", "TLS"]', "mechanisms", "each once"),
        (f"mechanisms = {[f'X-{number}' for number in range(17)]}", "mechanisms", "at most 16"),
        ('mechanisms = ["TLS", 1]', "mechanisms", "a list of texts"),
        ('mechanisms = "TLS"', "mechanisms", "a list of texts"),
        ('mechanisms = ["password", "GSSAPI"]', "mechanisms", "tls_certificate"),
        ('spn = "guest"', "spn", "service/host"),
        ('keytab = "keytab"', "keytab", "absolute"),
        ('keytab = "/etc/../x"', "keytab", "absolute"),
        ('tls_key = "/k"', "tls_certificate", "key alone"),
        ("require_tls = true", "require_tls", "tls_certificate"),
        ("require_tls = 1", "require_tls", "true or false"),
        ('tty = "/dev/tty1"', "tty", "without /dev/"),
        ('service = "../x"', "service", "PAM service"),
        ('channel_user = "-x"', "channel_user", "name of a user"),
        ('channel_user = "sso-acceptor"', "acceptor_user", "another user"),
        ("min_uid = 0", "min_uid", "root is never"),
        ("min_uid = true", "min_uid", "a whole number"),
        ("grant_seconds = 61", "grant_seconds", "1 to 60"),
        ("grant_seconds = 0", "grant_seconds", "1 to 60"),
        ("grant_seconds = 1.5", "grant_seconds", "a whole number"),
        ('pam_socket = "/run/console-sso/getty.sock"', "getty_socket", "another path"),
        (f'pam_socket = "/{"x" * 107}"', "pam_socket", "107"),
        ('allowed_groups = ["a:b"]', "allowed_groups", "names"),
        ('allowed_groups = ["a,b"]', "allowed_groups", "names"),
        ('allowed_groups = [" a"]', "allowed_groups", "names"),
        ('allowed_groups = [""]', "allowed_groups", "names"),
    ],
)
def test_what_is_wrong_names_file_key_and_cure(line: str, key: str, cure: str, tmp_path: Path) -> None:
    text = line if line.startswith("spn") else f'spn = "{SPN}"\n{line}'
    path = write(tmp_path, text + "\n")
    with pytest.raises(ConfigError, match=re.escape(f"{path}: {key}: ")) as caught:
        load(path)
    assert cure in str(caught.value)


@pytest.mark.parametrize("name", ["domain users@corp.example", r"CORP\lab users", "Käufer", "g" * 255])
def test_groups_have_the_names_that_directories_give_them(name: str) -> None:
    assert parse({"spn": SPN, "allowed_groups": [name]}).allowed_groups == (name,)


def test_a_short_host_name_is_no_service() -> None:
    with pytest.raises(ConfigError, match="spn: write"):
        parse({}, lambda: "vm")
    assert parse({"mechanisms": ["TLS"]}, lambda: "vm").spn == ""


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_a_file_that_others_may_change_is_refused(mode: int, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="others may change it"):
        load(write(tmp_path, "", mode))


@pytest.mark.e2e
def test_a_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "")
    os.chown(path, 65534, 65534)
    with pytest.raises(ConfigError, match="others may change it"):
        load(path)


@pytest.mark.parametrize("text", ["port =", "\xff"])
def test_no_toml_and_no_file(text: str, tmp_path: Path) -> None:
    path = tmp_path / "guest.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match="no TOML"):
        load(str(path))
    with pytest.raises(ConfigError, match="is an example"):
        load(str(tmp_path / "missing"))
