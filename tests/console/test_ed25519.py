"""Ed25519 as RFC 8032 has it, with OpenSSL's own program and Debian's Python as the other side."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import signed_files as files
from lines import copies

from sso.console.ed25519 import is_signature, key_text, pem, public_key, public_of, seed_of, sign
from sso.demo.programs import find_program
from sso.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
FIELD = 2**255 - 19
# RFC 8032 section 7.1: private key, public key, message, signature
RFC_8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25b"
        "f5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b"
        "2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c"
        "15e9716ed28dc027beceea1ec40a",
    ),
]


@pytest.mark.parametrize(("seed", "key", "message", "signature"), RFC_8032)
def test_the_rfcs_own_examples(seed: str, key: str, message: str, signature: str) -> None:
    octets = bytes.fromhex(message)
    private = bytearray.fromhex(seed)
    assert public_of(private).hex() == key
    assert sign(private, b"", memoryview(octets)).hex() == signature
    assert is_signature(bytes.fromhex(key), bytes.fromhex(signature), b"", memoryview(octets))
    for at in range(len(octets) + 1):  # prefix and bytes are one message
        assert is_signature(
            bytes.fromhex(key), bytes.fromhex(signature), octets[:at], memoryview(octets)[at:]
        )
    assert not is_signature(bytes.fromhex(key), bytes.fromhex(signature), b"x", memoryview(octets))


def test_a_large_s_is_refused_whatever_the_library_would_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 8032 section 5.1.7 wants it below the order; not every library has always looked."""
    order = 2**252 + 27742317777372353535851937790883648493
    for s in (order, order + 1, 2**256 - 1):
        monkeypatch.setitem(sys.modules, "cryptography", None)
        assert not is_signature(bytes([9] * 32), bytes(32) + s.to_bytes(32, "little"), b"", memoryview(b""))


def openssl(*arguments: str | Path) -> bytes:
    return subprocess.run([find_program("openssl"), *arguments], capture_output=True, check=True).stdout


def test_openssl_takes_our_keys_and_signatures(tmp_path: Path) -> None:
    """So another portal, in another language, can be written from the document alone."""
    private, public, message, signature = (tmp_path / name for name in ("key", "pub", "message", "signature"))
    private.write_bytes(pem(files.SITE))
    der = openssl("pkey", "-in", private, "-pubout", "-outform", "DER")
    assert key_text(der[-32:]) == key_text(public_of(files.SITE))
    public.write_bytes(openssl("pkey", "-in", private, "-pubout"))
    message.write_bytes(b"prefix\0octets")
    signature.write_bytes(sign(files.SITE, b"prefix\0", memoryview(b"octets")))
    said = openssl(
        *("pkeyutl", "-verify", "-pubin", "-inkey", public, "-rawin", "-in", message, "-sigfile", signature)
    )
    assert said == b"Signature Verified Successfully\n"


def test_we_take_openssls_keys(tmp_path: Path) -> None:
    private = tmp_path / "key"
    openssl("genpkey", "-algorithm", "ed25519", "-out", private)
    seed = seed_of(memoryview(private.read_bytes()))
    assert public_of(seed) == openssl("pkey", "-in", private, "-pubout", "-outform", "DER")[-32:]
    assert bytes(pem(seed)) == private.read_bytes()


def test_a_file_that_is_no_private_key_of_ed25519_is_refused(tmp_path: Path) -> None:
    good = bytes(pem(files.SITE))
    other = tmp_path / "x25519"
    openssl("genpkey", "-algorithm", "x25519", "-out", other)
    for octets in (
        *(b"", b"x", good[:-1], good + b"\n", good.replace(b"\n", b"\r\n"), good.replace(b"A", b"_")),
        good.replace(b"PRIVATE KEY", b"private key"),
        other.read_bytes(),
        openssl("genpkey", "-algorithm", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
    ):
        with pytest.raises(ConfigError, match="it is"):
            seed_of(memoryview(octets))


@pytest.mark.parametrize(
    "y",
    [
        *(0, 1, FIELD - 1, FIELD, FIELD + 1, 2**255 - 1),
        0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
        FIELD - 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
    ],
)
@pytest.mark.parametrize("sign_of_x", [0, 1 << 255])
def test_a_key_under_which_anything_is_signed_is_none(y: int, sign_of_x: int) -> None:
    with pytest.raises(ConfigError, match="no sound one"):
        public_key(key_text((y | sign_of_x).to_bytes(32, "little")))


def test_openssl_would_take_such_a_key_for_any_message() -> None:
    """Why the check above is ours to make."""
    neutral = bytes([1]) + bytes(31)
    anything = neutral + bytes(32)
    assert is_signature(neutral, anything, b"console-sso entry 1\0", memoryview(b"anything"))


@pytest.mark.parametrize(
    "text",
    [
        *("", "ed25519:", "ed25519:" + "A" * 42 + "==", "ed25519:" + "A" * 43, "Ed25519:" + "A" * 43 + "="),
        key_text(bytes([9] * 32))[8:],
        key_text(bytes([9] * 32)) + "\n",
        " " + key_text(bytes([9] * 32)),
        key_text(bytes([9] * 32)).replace("C", "\u0421"),
        key_text(bytes([9] * 32))[:-2] + "l=",  # bits behind the last byte
        "ed25519:" + key_text(bytes([9] * 32)),
        "ed25519:" + "A" * 100_000,
    ],
)
def test_a_public_key_has_one_form(text: str) -> None:
    with pytest.raises(ConfigError, match="a public key has to be"):
        public_key(text)


def test_a_key_that_is_no_point_signs_nothing() -> None:
    key = bytes([2]) + bytes(31)
    assert not is_signature(key, bytes(64), b"", memoryview(b""))


OTHER_PYTHON = """
import sys
import cryptography, signed_files as files
assert sys.version_info >= (3, 11)
found = files.look(bytes.fromhex(sys.stdin.readline()))
assert found.entry and found.opening and not found.notes, found
wrong = bytearray(files.signed()); wrong[3] ^= 1
assert not files.look(wrong).opening
print(cryptography.__version__, files.signed().hex())
"""


@pytest.mark.slow
def test_debians_own_library_signs_and_checks_the_same() -> None:
    """An old version, which takes neither bytearray nor memoryview."""
    done = subprocess.run(
        ["/usr/bin/python3", "-B", "-c", OTHER_PYTHON],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}/src:{ROOT}/tests/support", "SSO_PURE": "1"},
        input=files.signed().hex(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    version, file = done.stdout.split()
    assert file == files.signed().hex()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (least,) = re.findall(r"^cryptography>=(\d+)$", "\n".join(extras["signed"]), re.M)
    assert int(version.split(".")[0]) >= int(least)


# What stays in memory

CHILD = """
import os, sys
from sso.console.ed25519 import public_key
from sso.console.signed import Asked, check
from sso.console.signing import with_opening
from sso.console.trust import TrustedKey
from sso.framing import wipe
host, proxy, spn, key, now = sys.argv[1:]
trusted = TrustedKey("site", public_key(key), ("entries", "openings"), ("*",), ("host/*@*", "tls/*"))
file = bytearray(int(os.read(0, 8)))
os.write(1, b"r")
assert os.readv(0, [file]) == len(file)
found = check(memoryview(file), Asked(host, proxy, spn=spn), (trusted,), int(now))
assert found.entry and found.opening, found
file[8] ^= 1
assert not check(memoryview(file), Asked(host, proxy, spn=spn), (trusted,), int(now)).opening
file[8] ^= 1
with memoryview(file) as view:
    wipe(with_opening(view[: file.index(b"[x-sso-signature]")], bytearray(32), "a@B", int(now), int(now) + 1))
os.write(1, b"h")
os.read(0, 1)
wipe(file)
os.write(1, b"w")
os.read(0, 1)
"""


@pytest.mark.slow
@pytest.mark.parametrize("python", [sys.executable, "/usr/bin/python3"])
def test_the_files_password_is_in_no_copy_that_was_made_for_a_signature(python: str) -> None:
    """It stands in the caller's buffer and nowhere else; in no str, and not in what was given to OpenSSL."""
    asked, key = files.ASKED, key_text(public_of(files.SITE))
    argv = [python, "-B", "-c", CHILD, asked.host, asked.proxy, asked.spn, key, str(files.NOW)]
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}/src"}
    file = files.signed()
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, env=env) as child:
        assert child.stdin is not None and child.stdout is not None
        child.stdin.write(b"%8d" % len(file))
        assert child.stdout.read(1) == b"r"
        child.stdin.write(file)
        assert child.stdout.read(1) == b"h"
        assert copies(child.pid, files.PASSWORD) == 1
        child.stdin.write(b".")
        assert child.stdout.read(1) == b"w"
        assert copies(child.pid, files.PASSWORD) == 0
        assert copies(child.pid, files.PASSWORD[4:16]) == 0
        child.stdin.write(b".")
