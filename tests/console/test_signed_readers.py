"""Who else reads a signed file: GLib's key file, as remote-viewer; and a viewer without the library."""

import json
import subprocess
import sys

import pytest
from signed_files import ASKED, FILE, fields, look, signed, site

from sso.console.ed25519 import NoLibrary
from sso.console.signed import Signatures

# What GLib reads in the same bytes

READER = """
import json, sys
from gi.repository import GLib
for line in sys.stdin:
    file = GLib.KeyFile()
    try:
        data = bytes.fromhex(line)
        file.load_from_data(data.decode(), len(data), GLib.KeyFileFlags.NONE)
        groups = {name: {key: file.get_value(name, key) for key in file.get_keys(name)[0]}
                  for name in file.get_groups()[0]}
    except (GLib.Error, UnicodeDecodeError) as error:
        groups = str(error)
    print(json.dumps(groups), flush=True)
"""


def by_glib(*files: bytes) -> list[dict[str, dict[str, str]] | str]:
    """The groups of each file as GLib's key file, which remote-viewer reads with, sees them."""
    lines = "".join(f"{file.hex()}\n" for file in files)
    done = subprocess.run(
        ["/usr/bin/python3", "-I", "-c", READER], input=lines, capture_output=True, text=True, check=True
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_glib_reads_the_file_as_if_it_were_not_signed_and_sees_the_same_groups() -> None:
    plain, whole = by_glib(FILE, signed())
    assert isinstance(plain, dict) and isinstance(whole, dict)
    assert list(whole) == ["virt-viewer", "x-sso", "x-sso-entry", "x-sso-signature"]
    assert {name: whole[name] for name in plain} == plain
    for name in ("x-sso-entry", "x-sso-signature"):
        read = {key: text for key, text in whole[name].items() if key != "signature"}
        assert read == fields(signed(), name)


def test_where_glib_sees_a_group_of_ours_so_do_we() -> None:
    """However its header is written: else an opening could be followed by what only others read."""
    spellings = [
        b"[x-sso-signature]",
        b" [x-sso-signature]",
        b"\t\f\r [x-sso-signature]",
        b"\v[x-sso-signature]",
        b"[x-sso-signature] ",
        b"[x-sso-signature]\t\r",
        b"[ x-sso-signature]",
        b"[x-sso-signature ]",
        b"[X-sso-signature]",
        b"#[x-sso-signature]",
        b"x=[x-sso-signature]",
        b"[x-sso-signature]x",
        b"\xef\xbb\xbf[x-sso-signature]",
    ]
    files = [FILE + spelling + b"\nkey=x\n" for spelling in spellings]
    seen = [isinstance(groups, dict) and "x-sso-signature" in groups for groups in by_glib(*files)]
    ours = [bool(look(file).notes) for file in files]
    assert any(seen) and not all(seen)
    assert [spelling for spelling, glib, mine in zip(spellings, seen, ours, strict=True) if glib > mine] == []


# Without the library


def test_without_cryptography_a_signed_file_counts_as_unsigned_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file, key = signed(), site()
    assert look(file).opening is not None
    for name in [name for name in sys.modules if name.split(".")[0] == "cryptography"]:
        monkeypatch.setitem(sys.modules, name, None)
    found = look(file, ASKED, key)
    assert found.entry is None and found.opening is None
    assert len(found.notes) == 1 and "install python3-cryptography" in found.notes[0]
    assert look(FILE, ASKED, key) == Signatures()
    with pytest.raises(NoLibrary, match="install python3-cryptography"):
        signed()


LAZY = """
import sys
from sso.console.signed import Asked, check
check(memoryview(b"[virt-viewer]\\ntype=spice\\n"), Asked("h"), (), 0)
check(memoryview(b"[x-sso-signature]\\nversion=1\\n"), Asked("h"), (), 0)
print(sorted({name.split(".")[0] for name in sys.modules} & {"cryptography", "_cffi_backend", "ssl"}))
"""


def test_the_library_is_loaded_for_a_signature_that_could_count_and_not_before() -> None:
    done = subprocess.run([sys.executable, "-c", LAZY], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
