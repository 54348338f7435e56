"""Hostile connection files: each gives one clear line, and does nothing else."""

import os
import re
from pathlib import Path
from typing import Any

import pytest
from connection_files import minimal, ours, write
from hypothesis import given
from hypothesis import strategies as st

from sso.console.connection_file import SIZE_MAX, read
from sso.errors import ConfigError

PIN = "sha256:" + "ab" * 32


# Each is given to `read` as it stands, and the word has to be in the one line that comes.

TYPE = "[virt-viewer]\ntype=spice\n"
HOSTILE: list[tuple[str | bytes, str]] = [
    # Not what the format is
    ("", "no type in a group"),
    ("type=spice\n", "before the first"),
    ("[virt-viewer]\nhost=vm7\n", "no type"),
    ("[virt-viewer\ntype=spice\n", "line 1: it is neither"),
    ("[]\n", "line 1"),
    ("[virt-viewer]\ntype\n", "line 2"),
    ("[virt-viewer]\n=spice\n", "line 2"),
    ("[virt-viewer]\n" + "k" * 256 + "=1\n", "line 2"),
    ("[virt-viewer]\nty\x1bpe=spice\n", "line 2"),
    ("[" + "g" * 65 + "]\n", "line 1"),
    (b"\xef\xbb\xbf[virt-viewer]\ntype=spice\n", "byte order mark"),
    ("[virt-viewer]\ntype=spice\n".encode("utf-16"), "line 1: it has a NUL"),
    (b"[virt-viewer]\nt\xfc=1\n", "line 2: it is no UTF-8"),
    (b"[virt-viewer]\ntype=sp\xefce\n", "type: it is no UTF-8"),
    (minimal().encode() + b"password=\xed\xa0\x80\n", "password: it is no UTF-8"),
    (minimal().encode() + b"password=\xc0\x80\n", "password: it is no UTF-8"),
    (minimal().encode() + b"host-subject=M\xfcll\n", "host-subject: it is no UTF-8"),
    (b"[virt-viewer]\ntitle=a\0b\n", "line 2: it has a NUL"),
    (b"\x7fELF\x02\x01\x01\0\0\0", "line 1"),
    (minimal("host-subject=\\u0041"), "host-subject: after a backslash"),
    (minimal("password=a\\"), "password: after a backslash"),
    *(
        (minimal(f"[{group}]\nspn=host/vm7"), "has to be written .x-sso.")
        for group in ("X-SSO", "x-SSO", "x-Sso", "x-sso ", "x_sso", "sso")
    ),
    # In a list, as GLib writes one
    (minimal("secure-channels=null;"), "secure-channels: 'null' says nothing"),
    (minimal("disable-channels=main; -1"), "disable-channels: '-1' says nothing"),
    # Two meanings
    (minimal("host=vm8"), "host: it is given twice"),
    (minimal("[virt-viewer]\nhost=vm8"), "host: it is given twice"),
    (ours("plug-ins=\n[x-sso]\nplug-ins=spice.sso.0"), "plug-ins: it is given twice"),
    (minimal("unix-path=/run/vm7"), "cannot be together"),
    # Too much
    (b"#" * (SIZE_MAX + 1), "more than 256 KiB"),
    ("[virt-viewer]\n" + "".join(f"{n}=\n" for n in range(10**6)), "more than 256 KiB"),
    ("[virt-viewer]\n" + "a=\n" * 80_000, "line 502: more than 500 keys"),
    ("[virt-viewer]\n" + "".join(f"k{n}=\n" for n in range(25_000)), "line 502: more than 500 keys"),
    ("[ovirt]\n" + "a=\n" * 80_000, "line 502: more than 500 keys"),
    (minimal(f"username={'x' * 256}"), "username: it has more than 255"),
    (minimal(f"password={'x' * 2000}"), "password: it has more than 1024"),
    (minimal(f"ca=-----BEGIN CERTIFICATE-----{'x' * 66_000}"), "ca: it has more than 65536"),
    (minimal("disable-channels=" + ";".join(f"c{n}" for n in range(65))), "more than 64 entries"),
    # Types and places
    ("[virt-viewer]\ntype=ovirt\n", "open the file that the portal itself gives"),
    ("[virt-viewer]\ntype=rdp\n", "'rdp' is not one of"),
    ("[virt-viewer]\ntype=\n", "type: ''"),
    ("[virt-viewer]\ntype=" + "\u202eä" * 300 + "\n", "is not one of"),
    (TYPE, "host: it is missing"),
    (TYPE + "host=vm7\n", "port: neither"),
    (TYPE + "host=vm 7\nport=1\n", "host:"),
    (TYPE + "host=vm7\\nx\nport=1\n", "host:"),
    (TYPE + "host=-oProxyCommand\nport=1\n", "host:"),
    (TYPE + "host=../../etc\nport=1\n", "host:"),
    (TYPE + f"host={'x' * 256}\nport=1\n", "host:"),
    (TYPE + "host=vm7\nport=0\n", "port: a port"),
    (TYPE + "host=vm7\nport=65536\n", "port: a port"),
    (TYPE + "host=vm7\nport=0x10\n", "port: a port"),
    (TYPE + "host=vm7\ntls-port=-2\n", "tls-port: a port"),
    (TYPE + "host=vm7\ntls-port=-1\n", "port: neither"),
    (TYPE + "unix-path=run/vm7\n", "unix-path:"),
    (TYPE + "unix-path=/run/\\nvm7\n", "unix-path:"),
    (TYPE + f"unix-path=/{'x' * 107}\n", "unix-path: .* 107 bytes"),
    ("[virt-viewer]\ntype=vnc\nhost=vm7\ntls-port=1\n", "it would go unprotected"),
    (minimal("proxy=http://alice:hunter2@gate:3128"), "proxy: a user's name or a password"),
    (minimal("proxy=file:///etc/passwd"), "proxy:"),
    (minimal("proxy=socks5://gate:1"), "proxy:"),
    # Values
    (minimal("username=a\\nb"), "username:"),
    (minimal("host-subject=a\\tb"), "host-subject:"),
    (minimal("tls-ciphers=a b"), "tls-ciphers:"),
    (minimal("secure-channels=main;/etc"), "secure-channels:"),
    (minimal("ca=/etc/passwd"), "ca: .* certificate"),
    (minimal("ca=-----BEGIN PRIVATE KEY-----"), "ca: .* certificate"),
    # Wishes that are none
    (ours("spn=vm7"), "spn: it has to be service/host"),
    (ours("spn=--trust-any-spn"), "spn:"),
    (ours("spn=host/vm7 --trust-any-spn"), "spn:"),
    (ours("spn=host/vm7\\s--stay"), "spn:"),
    (ours("spn=host/*"), "spn:"),
    (ours("spn="), "spn:"),
    (ours(f"spn=host/{'x' * 255}"), "spn: it has more than 255"),
    (ours("port=../../bin/sh"), "port: it has to be a port's name"),
    (ours("port="), "port: it has to be"),
    (ours(f"port={'x' * 65}"), "port: it has to be"),
    (ours("plug-ins=/bin/sh"), "plug-ins: it has to be a list"),
    (ours("plug-ins=spice.sso.0 --offer-tgt"), "plug-ins: it has to be a list"),
    (ours(f"pin={'ab' * 32}"), "pin: it has to be sha256:"),
    (ours(f"pin=sha256:{'ab' * 31}"), "pin: it has to be sha256:"),
    (ours(f"pin={PIN};{PIN}"), "pin: it has to be sha256:"),
    (ours("stream=fd:0"), "stream: it has to be"),
    (ours("stream=stdio"), "stream: it has to be"),
    (ours("stream=/dev/tty"), "stream: it has to be"),
    (ours("stream=tcp:vm7"), "stream: it has to be"),
    (ours("stream=unix:agent"), "stream: a socket"),
    (ours("stream=unix:\\s"), "stream: a socket"),
    (ours("spm=host/vm7"), "spm is unknown; known are spn, port, pin, stream, plug-ins"),
    (ours("spn[de]=host/vm7"), r"spn\[de\] is unknown"),
    (ours("Plug-ins="), "Plug-ins is unknown"),
    *(
        (ours(f"{key}=1"), f"{key}: no file can allow this, only the local configuration")
        for key in (
            *("trust", "trust-any-spn", "offer-tgt", "delegate", "delegation", "send-ticket", "password"),
            *("password-fd", "command", "run", "parameters", "folder", "plugin-path", "allowed-spn"),
        )
    ),
]


@pytest.mark.parametrize(("content", "word"), HOSTILE, ids=lambda value: str(value)[-40:])
def test_a_hostile_file_gives_one_clear_line(tmp_path: Path, content: str | bytes, word: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(ConfigError, match=word) as error:
        read(path)
    said = str(error.value)
    assert said.startswith(f"{path}: ") and said.isprintable() and len(said) < len(path) + 300
    assert "hunter2" not in said
    assert os.listdir(tmp_path) == ["console.vv"]


@pytest.mark.parametrize(
    "kind", ["none", "folder", "fifo", "device", "link to a device", "no name", "long name"]
)
def test_what_is_no_regular_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "console.vv"
    word = "it is no regular file"
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)  # nobody writes: who opens it as usual waits for ever
    elif kind == "device":
        path = Path("/dev/zero")
    elif kind == "link to a device":
        path.symlink_to("/dev/zero")
    elif kind == "none":
        word = "No such file"
    elif kind == "no name":
        path, word = Path("a\0b"), "no file can have this name"
    else:
        path, word = Path("x" * 300), "too long"
    with pytest.raises(ConfigError, match=word):
        read(str(path))
    assert kind in ("none", "device", "no name", "long name") or os.path.lexists(path)


def test_a_file_that_becomes_a_fifo_does_not_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, minimal())
    real_stat = os.stat

    def stat_and_swap(name: Any, **options: Any) -> os.stat_result:
        found = real_stat(name, **options)
        if name == path:  # and nothing else: everybody here asks by this function now
            os.unlink(path)
            os.mkfifo(path)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", stat_and_swap)
        with pytest.raises(ConfigError, match="no regular file"):
            read(path)


# Anything at all

WORDS = st.sampled_from(
    sorted(
        {
            word + "="
            for content, _ in HOSTILE
            for word in re.findall(r"^([a-z-]+)=", str(content), re.MULTILINE)
        }
        | {"[virt-viewer]\n", "[x-sso]\n", "type=spice\n", "host=vm7\n", "port=1\n", "\n", ";", "\\", "\r\n"}
        | {"delete-this-file=1\n", "[ovirt]\n", "0", "1", "/", "..", "ctrl+a", "#", "\0", "host/vm7"}
    )
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all examples, with something in it that has to stay."""
    folder = tmp_path_factory.mktemp("any")
    (folder / "mine").write_text("mine")
    (folder / "sub").mkdir()
    return folder


@given(content=st.binary(max_size=200) | st.lists(WORDS | st.text(max_size=3), max_size=30).map("".join))
def test_any_file_is_read_or_refused(folder: Path, content: bytes | str) -> None:
    path = write(folder, content if isinstance(content, bytes) else content.encode("utf-8", "replace"))
    try:
        console = read(path)
    except ConfigError:
        console = None
    assert {"mine", "sub"} <= set(os.listdir(folder)) <= {"mine", "sub", "console.vv"}
    if console is not None:
        assert console.name.isprintable() and all(note.isprintable() for note in console.notes)
        assert bool(console.unix_path) != bool(console.host)
