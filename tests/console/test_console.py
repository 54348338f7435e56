"""Addresses of consoles: what is understood, what is refused with a word why, and what a person reads."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sso.console.accelerator import accelerator
from sso.console.console import NAME_MAX, Console, Wish, parse_address, printable
from sso.credential import Credential
from sso.errors import ConfigError


@pytest.mark.parametrize(
    ("address", "meant"),
    [
        ("spice://vm7:5900", Console("spice", host="vm7", port=5900)),
        ("spice://vm7:5900/", Console("spice", host="vm7", port=5900)),
        ("spice://vm7:5900?tls-port=5901", Console("spice", host="vm7", port=5900, tls_port=5901)),
        ("spice://vm7?port=1&tls-port=65535", Console("spice", host="vm7", port=1, tls_port=65535)),
        ("spice://vm7/?tls-port=2;port=1", Console("spice", host="vm7", port=1, tls_port=2)),
        ("spice://[2001:db8::7]:5900", Console("spice", host="2001:db8::7", port=5900)),
        ("spice://[fe80::7%eth0]:5900", Console("spice", host="fe80::7%eth0", port=5900)),
        ("spice+unix:///run/vm%207.sock", Console("spice", unix_path="/run/vm 7.sock")),
        ("vnc://192.0.2.7:5901", Console("vnc", host="192.0.2.7", port=5901)),
        ("vnc://vm7:1", Console("vnc", host="vm7", port=1)),  # a port, and no number of a display
        ("vnc://vm7", Console("vnc", host="vm7", port=5900)),
        ("vnc+unix:///run/vm7", Console("vnc", unix_path="/run/vm7")),
    ],
)
def test_addresses(address: str, meant: Console) -> None:
    assert parse_address(address) == meant


@pytest.mark.parametrize(
    ("address", "word"),
    [
        ("", "known forms"),
        ("vm7:5900", "known forms"),
        ("http://vm7:5900", "known forms"),
        ("spice+tls://vm7:5900", "known forms"),
        ("SPICE://vm7:5900", "known forms"),
        (" spice://vm7:5900", "known forms"),
        ("spice://" + "a" * 1100, "known forms"),
        ("spice://" + "a" * 256 + ":1", "host"),
        ("spice://vm7", "a port is missing"),
        ("spice://:5900", "host"),
        ("spice://-vm7:5900", "host"),
        ("spice://vm7\n:5900", "host"),
        ("spice://vm7%00:5900", "host"),
        ("spice://v/m7:5900", "host"),
        ("spice://2001:db8::7:5900", "port"),
        ("spice://[vm7]:5900", "IPv6"),
        ("spice://[::7%\x1b]:5900", "IPv6"),
        ("spice://[::7", "IPv6"),
        ("spice://[::7]x:5900", "IPv6"),
        ("spice://vm7:", "from 1 to 65535"),
        ("spice://vm7:0", "from 1 to 65535"),
        ("spice://vm7:65536", "from 1 to 65535"),
        ("spice://vm7:-1", "from 1 to 65535"),
        ("spice://vm7:\u0661", "from 1 to 65535"),
        ("spice://vm7?port=99999999", "from 1 to 65535"),
        ("spice://vm7:1?port=2", "twice"),
        ("spice://vm7:1?ca=/etc/passwd", "only port and tls-port"),
        ("vnc://vm7:1?tls-port=2", "SPICE"),
        ("spice+unix://run/vm7", "absolute"),
        ("spice+unix:///", "absolute"),
        ("spice+unix:///run/%00", "absolute"),
        ("spice+unix:///run/%ff", "UTF-8"),
        ("spice+unix:///" + "a" * 107, "107 bytes"),
        ("spice+unix:///" + "ä" * 54, "107 bytes"),
    ],
)
def test_addresses_of_no_use(address: str, word: str) -> None:
    with pytest.raises(ConfigError, match=word) as error:
        parse_address(address)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    "address",
    [
        "spice://alice@vm7:1",
        "vnc://alice:hunter2@vm7",
        "spice://vm7:1?password=hunter2",
        "spice://vm7?user=al",
    ],
)
def test_nothing_secret_is_an_argument(address: str) -> None:
    with pytest.raises(ConfigError, match="everybody here can see") as error:
        parse_address(address)
    assert "hunter2" not in str(error.value)


@given(st.text(max_size=60).map("spice://".__add__) | st.text(max_size=60).map("vnc+unix:///".__add__))
def test_any_address_is_read_or_refused(address: str) -> None:
    try:
        console = parse_address(address)
    except ConfigError:
        return
    assert bool(console.unix_path) != bool(console.host)
    assert all(place.isprintable() for place in console.places)


@pytest.mark.parametrize(
    ("console", "name"),
    [
        (Console("spice", host="vm7", title="Mail"), "Mail"),
        (Console("spice", host="vm7", title="a\x1b]0;b\x07\n\u202ec\t d"), "a]0;b c d"),
        (Console("spice", host="vm7", title=" \x00\u200b "), "vm7"),
        (Console("spice", unix_path="/run/vm7.sock"), "vm7.sock"),
        (Console("spice", unix_path="/run/\x1b"), "spice"),
        (Console("vnc", host="x" * 999), "x" * NAME_MAX),
    ],
)
def test_name_is_one_harmless_line(console: Console, name: str) -> None:
    assert console.name == name == printable(name)


def test_password_does_not_show() -> None:
    console = Console("spice", host="vm7", password=Credential("password", "", bytearray(b"hunter2")))
    assert "hunter2" not in repr(console) + str(console)


def test_places_are_all_that_see_what_is_said() -> None:
    assert Console("spice", host="vm7").places == ("vm7",)
    assert Console("vnc", unix_path="/run/vm7", wish=Wish(stream="unix:/run/s")).places == (
        "/run/vm7",
        "/run/s",
    )
    console = Console("vnc", host="vm7", proxy="http://gate:3128/", wish=Wish(stream="tls:[::1]:9"))
    assert console.places == ("vm7", "gate", "::1")
    assert Console("spice", host="vm7", proxy="gate").places == ("vm7", "gate")


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("shift+f11", "<Shift>F11"),
        ("Ctrl+Alt+Ins", "<Control><Alt>Insert"),
        ("ctrl+alt+end", "<Control><Alt>End"),
        ("ctrl+alt", "<Control>Alt_L"),
        ("Control_L+Alt_R", "<Control>Alt_R"),
        ("ctrl+alt+R", "<Control><Alt>r"),
        ("ctrl+0", "<Control>0"),
        ("F8", "F8"),
        ("super+XF86Back", "<Super>XF86Back"),
    ],
)
def test_hotkeys_in_gtks_words(text: str, keys: str) -> None:
    assert accelerator(text, "zoom-in") == keys


@pytest.mark.parametrize(
    "text", ["", "+", "ctrl+", "a+b", "ctrl++", "<Control>a", "ctrl+\x1b", "alt+" * 9 + "a"]
)
def test_hotkeys_of_no_use(text: str) -> None:
    with pytest.raises(ConfigError, match="zoom-in: a hotkey"):
        accelerator(text, "zoom-in")
