"""Connection files: those of portals are understood, removed where they say so, and keep no password."""

import os
from pathlib import Path

import pytest

from sso.errors import ConfigError
from sso.viewer import connection_file
from sso.viewer.connection_file import read
from sso.viewer.console import Console, Wish

PIN = "sha256:" + "ab" * 32
PEM = "-----BEGIN CERTIFICATE-----\\nMIIB\\n-----END CERTIFICATE-----\\n"

OVIRT = f"""\
[virt-viewer]
type=spice
host=192.0.2.7
port=5900
password=f7\\sQ+ü/\\\\x
# Password is valid for 120 seconds.
delete-this-file=1
fullscreen=0
title=vm7:%d
toggle-fullscreen=shift+f11
release-cursor=shift+f12
secure-attention=ctrl+alt+end
tls-port=5901
enable-smartcard=0
enable-usb-autoshare=1
usb-filter=-1,-1,-1,-1,0
tls-ciphers=DEFAULT:-RC4
host-subject=O=example.org,CN=192.0.2.7
ca={PEM}
secure-channels=main;inputs;cursor;playback;record;display;smartcard;usbredir;
versions=rhev-win64:2.0-160;rhel7:2.0-6;
newer-version-url=https://example.org/clients

[ovirt]
host=engine.example.org:443
vm-guid=00000000-0000-0000-0000-000000000000
sso-token=abc
admin=1
"""

PROXMOX = """\
[virt-viewer]
type=spice\r
title[de]=nein
title = VM 100 - mail  \r
host=pvespiceproxy:5DF0A5A4:100:pve::0123456789abcdef
proxy=http://pve.example.org:3128
tls-port=61000
delete-this-file=1
release-cursor=Ctrl+Alt+R
"""


def write(folder: Path, content: str | bytes) -> str:
    path = folder / "console.vv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def minimal(more: str = "") -> str:
    return f"[virt-viewer]\ntype=spice\nhost=vm7\nport=5900\n{more}\n"


def ours(more: str) -> str:
    return minimal(f"[x-sso]\n{more}")


def test_a_file_of_ovirt(tmp_path: Path) -> None:
    path = write(tmp_path, OVIRT)
    console = read(path)
    assert not os.path.exists(path)
    assert console.password is not None and console.password.type == "password"
    assert console.password.secret == bytearray("f7 Q+ü/\\x".encode())
    assert console._replace(password=None) == Console(
        "spice",
        host="192.0.2.7",
        port=5900,
        tls_port=5901,
        title="vm7:%d",
        ca=PEM.replace("\\n", "\n").strip(),
        host_subject="O=example.org,CN=192.0.2.7",
        tls_ciphers="DEFAULT:-RC4",
        secure_channels=(
            "main",
            "inputs",
            "cursor",
            "playback",
            "record",
            "display",
            "smartcard",
            "usbredir",
        ),
        enable_usb_autoshare=True,
        usb_filter="-1,-1,-1,-1,0",
        hotkeys={
            "toggle-fullscreen": "<Shift>F11",
            "release-cursor": "<Shift>F12",
            "secure-attention": "<Control><Alt>End",
        },
    )
    console.password.wipe()


def test_a_file_of_proxmox(tmp_path: Path) -> None:
    console = read(write(tmp_path, PROXMOX))
    assert (console.title, console.tls_port, console.port) == ("VM 100 - mail", 61000, 0)
    assert console.host == "pvespiceproxy:5DF0A5A4:100:pve::0123456789abcdef"
    assert console.places[1:] == ("pve.example.org",)
    assert console.password is None and console.notes == ()


@pytest.mark.proves("S136", "S137")
def test_the_group_of_ours(tmp_path: Path) -> None:
    text = f"""
[virt-viewer]
type=vnc
host=::1
[x-sso]
spn=host/vm7.example.org@EXAMPLE.ORG
port=spice.sso.0
pin=sha256:{"AB" * 32}
stream=tls:[::1]:7000
plug-ins=spice.sso.0;org.example.agent.0;
[x-other]
trust-any-spn=1
"""
    console = read(write(tmp_path, text))
    plug_ins = ("spice.sso.0", "org.example.agent.0")
    assert console == Console(
        "vnc",
        host="::1",
        port=5900,
        wish=Wish("host/vm7.example.org@EXAMPLE.ORG", "spice.sso.0", PIN, "tls:[::1]:7000", plug_ins),
    )


def test_no_plug_in_is_not_the_same_as_nothing_said(tmp_path: Path) -> None:
    assert read(write(tmp_path, ours("plug-ins="))).wish.plug_ins == ()
    assert read(write(tmp_path, minimal())).wish.plug_ins is None


def test_what_newer_writers_add_is_ignored_with_a_line(tmp_path: Path) -> None:
    console = read(write(tmp_path, minimal("version=12.0-3\nsparkle=1\nx-sparkle=1\nhost[de]=wm7\n#spn=1")))
    assert console == Console(
        "spice",
        host="vm7",
        port=5900,
        notes=(
            "the file asks for a newer viewer than this one: some of it may be missing",
            "the file's key sparkle is unknown here",
        ),
    )
    for version in ("11.0", "2.0-160", "new", "99999999999999"):
        assert read(write(tmp_path, minimal(f"version={version}"))).notes == ()


def test_notes_are_few(tmp_path: Path) -> None:
    notes = read(write(tmp_path, minimal("\n".join(f"k{n}=1" for n in range(400))))).notes
    assert len(notes) == 9 and notes[-1] == "and so are 392 more"


@pytest.mark.parametrize(("word", "meant"), [("1", True), ("true", True), ("0", False), ("false", False)])
def test_yes_and_no(tmp_path: Path, word: str, meant: bool) -> None:
    assert read(write(tmp_path, minimal(f"fullscreen={word}"))).fullscreen is meant


def test_an_empty_value_is_none_at_all(tmp_path: Path) -> None:
    empty = "".join(f"{key}=\n" for key in ("tls-port", "ca", "proxy", "zoom-in", "password", "fullscreen"))
    assert read(write(tmp_path, minimal(empty))) == Console("spice", host="vm7", port=5900)


def test_a_link_is_read_through(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(write(tmp_path, minimal()))
    assert read(str(tmp_path / "link")).host == "vm7"


# Removal


@pytest.mark.parametrize(
    "more",
    [
        "delete-this-file=1",
        "delete-this-file=true\r",
        "delete-this-file=1\ntls-port=0",
        "delete-this-file=1\n=",
    ],
)
def test_a_file_is_removed_be_the_rest_right_or_wrong(tmp_path: Path, more: str) -> None:
    path = write(tmp_path, minimal(more))
    try:
        read(path)
    except ConfigError:
        assert more.endswith(("0", "="))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "text",
    [
        minimal("delete-this-file=0"),
        minimal("delete-this-file=yes"),
        minimal("delete-this-file[de]=1"),
        minimal("#delete-this-file=1"),
        minimal("=\ndelete-this-file=1"),  # never read so far
        minimal("[ovirt]\ndelete-this-file=1"),
        ours("delete-this-file=1"),
    ],
)
def test_a_file_that_does_not_say_so_stays(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    try:
        read(path)
    except ConfigError:
        pass
    assert os.path.exists(path)


def test_only_the_file_itself_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, minimal("delete-this-file=1"))
    (tmp_path / "link").symlink_to(path)
    assert read(str(tmp_path / "link")).notes == ("the file asked to be removed, and could not be",)
    assert sorted(os.listdir(tmp_path)) == ["console.vv", "link"]
    (tmp_path / "mine").write_text("mine")
    real_lstat = os.lstat

    def swap_and_lstat(name: str) -> os.stat_result:
        if name == path:
            os.replace(tmp_path / "mine", path)
        return real_lstat(name)

    monkeypatch.setattr(os, "lstat", swap_and_lstat)
    assert len(read(path).notes) == 1
    assert Path(path).read_text() == "mine"


# The password


@pytest.mark.parametrize("more", ["", "tls-port=0", "\0"])
def test_the_read_buffer_is_wiped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: str) -> None:
    seen: list[bytearray] = []
    load = connection_file._load

    def watch(path: str, buffer: bytearray) -> tuple[int, os.stat_result]:
        seen.append(buffer)
        found = load(path, buffer)
        assert b"hunter2" in buffer
        return found

    monkeypatch.setattr(connection_file, "_load", watch)
    path = write(tmp_path, minimal(f"password=hunter2\n{more}"))
    if more:
        with pytest.raises(ConfigError) as error:
            read(path)
        assert "hunter2" not in str(error.value)
    else:
        console = read(path)
        assert console.password is not None and console.password.secret == bytearray(b"hunter2")
        assert "hunter2" not in repr(console)
    assert not any(seen[0])


def test_the_password_never_becomes_a_str(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []
    text = connection_file._text

    def watch(*arguments: object) -> str:
        decoded.append(text(*arguments))  # type: ignore[arg-type]
        return decoded[-1]

    monkeypatch.setattr(connection_file, "_text", watch)
    read(write(tmp_path, OVIRT))
    assert "vm7:%d" in decoded
    assert not [value for value in decoded if "f7" in value]
