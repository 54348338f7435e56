"""How a console is reached and what that proves; and the file of remembered yeses."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from sso.console.console import Console, Wish
from sso.console.vouch import Agreement, ConsoleTable, Proof
from sso.demo.programs import find_program
from sso.viewer.agreed import LINES_MAX, Agreed
from sso.viewer.reach import anchored, is_own_socket, legs

PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
NOBODYS = 4711  # a uid of nobody here


def console(kind: str = "spice", stream: str = "", **more: object) -> Console:
    where = {} if "unix_path" in more else {"host": "node1.example.org"}
    return Console(kind, **{**where, **more}, wish=Wish(stream=stream))  # type: ignore[arg-type]


@pytest.fixture
def table(tmp_path: Path) -> ConsoleTable:
    (tmp_path / "ca.pem").write_text(PEM)
    return ConsoleTable(("node1.example.org",), ca=str(tmp_path / "ca.pem"))


def proofs(
    console: Console, *tables: ConsoleTable, own_ca: bool = False, signed_ca: bool = False
) -> list[Proof]:
    reach = anchored(console, tables)._replace(own_ca=own_ca, signed_ca=signed_ca)
    return [leg.proof for leg in legs(reach)]


HTTPS, HTTP = "https://gate.example.org:3128", "http://gate.example.org:3128"


@pytest.mark.parametrize(
    ("opened", "vouched", "proof"),
    [
        (console(port=5900), {}, Proof.PLAIN),
        (console(tls_port=5901), {}, Proof.LOCAL),
        (console(tls_port=5901, port=5900), {}, Proof.LOCAL),
        (console(tls_port=5901, ca="PEM"), {}, Proof.CLAIMED),
        (console(tls_port=5901, host_subject="CN=x"), {}, Proof.CLAIMED),
        (console(tls_port=5901, ca="PEM"), {"own_ca": True}, Proof.LOCAL),
        (console(tls_port=5901, ca="PEM", host_subject="CN=x"), {"own_ca": True}, Proof.CLAIMED),
        (console(tls_port=5901, ca="PEM", host_subject="CN=x"), {"signed_ca": True}, Proof.SIGNED),
        (console(port=5900), {"own_ca": True, "signed_ca": True}, Proof.PLAIN),
        (console(port=5900, proxy=HTTPS), {}, Proof.PROXY),
        (console(port=5900, proxy=HTTP), {}, Proof.PLAIN),
        (console(tls_port=5901, ca="PEM", proxy=HTTPS), {}, Proof.PROXY),
        (console(tls_port=5901, ca="PEM", proxy=HTTP), {}, Proof.CLAIMED),
        (console(tls_port=5901, proxy=HTTP), {}, Proof.LOCAL),
        # gtk-vnc verifies nothing that we told it, and goes through no proxy.
        (console("vnc", port=5900), {}, Proof.PLAIN),
        (console("vnc", port=5900, proxy=HTTPS, ca="PEM"), {"own_ca": True}, Proof.PLAIN),
    ],
)
def test_what_proves_a_console(opened: Console, vouched: dict[str, bool], proof: Proof) -> None:
    assert proofs(opened, **vouched) == [proof]


@pytest.mark.parametrize(
    ("stream", "more", "vouched", "proof"),
    [
        ("tcp:node1.example.org:6000", {}, {}, Proof.PLAIN),
        ("tls:node1.example.org:6000", {}, {}, Proof.LOCAL),
        ("tls:node1.example.org:6000", {"ca": "PEM"}, {}, Proof.CLAIMED),
        ("tls:node1.example.org:6000", {"ca": "PEM"}, {"own_ca": True}, Proof.LOCAL),
        ("tls:node1.example.org:6000", {"ca": "PEM"}, {"signed_ca": True}, Proof.SIGNED),
    ],
)
def test_what_proves_a_stream(
    stream: str, more: dict[str, str], vouched: dict[str, bool], proof: Proof
) -> None:
    assert proofs(console(stream=stream, tls_port=5901, **more), **vouched)[1] is proof


def test_a_tables_ca_takes_the_place_of_the_files(table: ConsoleTable) -> None:
    opened = console(stream="tls:node1.example.org:6000", tls_port=5901, ca="OTHER")
    reach = anchored(opened, [table])
    assert (reach.console.ca, reach.console.stream_ca) == (PEM, PEM)
    assert proofs(opened, table) == [Proof.LOCAL, Proof.LOCAL]
    # A subject of the file's own is none of the table's: the console opens as it says, and proves nothing.
    opened = opened._replace(host_subject="CN=evil.org")
    assert anchored(opened, [table]).console.ca == "OTHER"
    assert proofs(opened, table) == [Proof.CLAIMED, Proof.LOCAL]
    named = table._replace(subject="CN=node*")
    opened = opened._replace(host_subject="CN=node1")
    assert anchored(opened, [named]).console.host_subject == "CN=node1"
    assert proofs(opened, named) == [Proof.LOCAL, Proof.CLAIMED]


@pytest.mark.parametrize("text", [None, "no certificate", "é"])
def test_a_ca_that_cannot_be_read_is_said_and_proves_nothing(table: ConsoleTable, text: str | None) -> None:
    Path(table.ca).unlink()
    if text is not None:
        Path(table.ca).write_text(text)
    reach = anchored(console(tls_port=5901, ca="OTHER"), [table])
    assert [note.startswith(f"[[console]] ca: {table.ca}: ") for note in reach.notes] == [True]
    assert legs(reach)[0].proof is Proof.CLAIMED and reach.console.ca == "OTHER"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A socket of our own."""
    tmp_path.chmod(0o755)
    (tmp_path / "sub").mkdir(mode=0o755)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tmp_path / "sub" / "s"))
    return tmp_path / "sub" / "s"


def test_a_socket_of_ones_own(path: Path) -> None:
    assert is_own_socket(str(path))
    assert proofs(console(unix_path=str(path))) == [Proof.SOCKET]
    (path.parent / "link").symlink_to("s")
    (path.parent.parent / "absolute").symlink_to(path.parent)
    assert is_own_socket(f"{path.parent.parent}/absolute/link")


def _file(path: Path) -> None:
    path.unlink()
    path.write_text("")


def _writable(path: Path) -> None:
    path.parent.chmod(0o775)


def _strangers(path: Path) -> None:
    os.chown(path, NOBODYS, NOBODYS)


def _strangers_folder(path: Path) -> None:
    os.chown(path.parent, NOBODYS, NOBODYS)


def _strangers_link(path: Path) -> None:
    path.rename(path.parent / "real")
    path.symlink_to("real")
    os.lchown(path, NOBODYS, NOBODYS)


def _link_into_a_strangers(path: Path) -> None:
    strange = path.parent.parent / "strange"
    strange.mkdir()
    path.rename(strange / "s")
    path.symlink_to(strange / "s")
    os.chown(strange, NOBODYS, NOBODYS)


def _loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


WAYS = [
    Path.unlink,
    _file,
    _writable,
    _strangers,
    _strangers_folder,
    _strangers_link,
    _link_into_a_strangers,
    _loop,
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_socket_that_somebody_else_could_change_proves_nothing(path: Path, way: object) -> None:
    way(path)  # type: ignore[operator]
    assert not is_own_socket(str(path))
    stream = console(unix_path=str(path), stream=f"unix:{path}")
    assert proofs(stream) == [Proof.STRANGERS] * 2


def test_a_link_of_proc_leads_where_the_kernel_says(path: Path) -> None:
    """Its text names a socket of ours; the kernel finds a stranger's, in the root of that process."""
    strangers = (
        f"import os, socket; s = socket.socket(socket.AF_UNIX); s.bind({str(path)!r});"
        f"os.chown({str(path)!r}, {NOBODYS}, {NOBODYS}); print(flush=True); input()"
    )
    mounted = f'mount -t tmpfs none "{path.parent}" && exec "{sys.executable}" -c "$0"'
    words = [find_program("unshare"), "--mount", "sh", "-c", mounted, strangers]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline()
        way = f"/proc/{other.pid}/root{path}"
        assert os.stat(way).st_uid == NOBODYS and not is_own_socket(way)
        assert is_own_socket(f"/proc/{os.getpid()}/root{path}")
        other.communicate(b"\n")


def test_in_a_sticky_folder_what_is_ours_stays_ours(path: Path) -> None:
    path.parent.chmod(0o1777)
    assert is_own_socket(str(path))


# Remembered yeses

YES = Agreement("", "node1", "", "", "host/vm7.example.org", "alice@EXAMPLE.ORG")


def test_a_yes_is_found_again_and_no_other(tmp_path: Path) -> None:
    agreed = Agreed(str(tmp_path / "new" / "agreed"))
    assert not agreed.has(YES)
    agreed.add(YES)
    agreed.add(YES._replace(proxy="gate"))
    agreed.add(YES)
    assert agreed.has(YES) and agreed.has(YES._replace(proxy="gate"))
    for field in YES._fields:
        assert not agreed.has(YES._replace(**{field: "x"}))
    path = Path(agreed.path)
    assert len(path.read_text().splitlines()) == 2 and path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700 and list(path.parent.iterdir()) == [path]
    path.unlink()
    assert not agreed.has(YES)


def test_the_oldest_are_forgotten(tmp_path: Path) -> None:
    agreed = Agreed(str(tmp_path / "agreed"))
    for count in range(3):
        agreed.add(YES._replace(console=f"a{count}"))
    line = (tmp_path / "agreed").read_text().splitlines()[-1] + "\n"
    (tmp_path / "agreed").write_text("".join(line.replace("a2", f"b{n}") for n in range(LINES_MAX)))
    agreed.add(YES)
    assert agreed.has(YES) and not agreed.has(YES._replace(console="b0"))
    assert agreed.has(YES._replace(console="b1"))


def test_long_lines_do_not_push_out_the_newest(tmp_path: Path) -> None:
    agreed = Agreed(str(tmp_path / "agreed"))
    long = [YES._replace(console=str(count) * 100_000) for count in range(3)]
    for one in long:
        agreed.add(one)
    assert [agreed.has(one) for one in long] == [False, True, True]


@pytest.mark.parametrize(
    "line", [b"", b"{}", b"[1]", b"yes", b"\xff\0", b'{"guest": ""}', b"null", b"1" * 5000, b"[" * 200_000]
)
def test_a_line_of_another_form_is_no_yes_and_hides_none(tmp_path: Path, line: bytes) -> None:
    agreed = Agreed(str(tmp_path / "agreed"))
    agreed.add(YES)
    path = tmp_path / "agreed"
    path.write_bytes(line + b"\n" + path.read_bytes())
    assert agreed.has(YES)
    path.write_bytes(path.read_bytes().replace(b'"alice@EXAMPLE.ORG"', b'["alice@EXAMPLE.ORG"]'))
    assert not agreed.has(YES)


def test_a_file_that_others_could_have_written_is_no_yes(tmp_path: Path) -> None:
    agreed = Agreed(str(tmp_path / "agreed"))
    agreed.add(YES)
    path = tmp_path / "agreed"
    path.chmod(0o620)
    assert not agreed.has(YES)
    path.chmod(0o600)
    assert agreed.has(YES)
    path.rename(tmp_path / "real")
    path.symlink_to("real")
    assert not agreed.has(YES)
    path.unlink()
    (tmp_path / "real").rename(path)
    os.chown(path, NOBODYS, NOBODYS)
    assert not agreed.has(YES)
