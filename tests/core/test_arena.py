"""The compiled core's memory for secrets: locked, not in dumps or children, wiped when it is freed."""

import ctypes
import os
import random
import subprocess
import sys
from base64 import b64encode
from itertools import pairwise
from typing import Any

import pytest
from builds import compiled

from sso.errors import FramingError

ARENA = 64 * 4096  # bytes: what is locked at once


@pytest.fixture
def framer() -> Any:
    return compiled().MessageFramer(128 * 1024, 65536)


def secret(framer: Any, octets: bytes, chunk: int = 1 << 22) -> memoryview:
    """Return those bytes as the framer decodes them from a line."""
    line = b"credentials kerberos " + b64encode(octets) + b"\n"
    found = [message for at in range(0, len(line), chunk) for message in framer.feed(line[at : at + chunk])]
    ((_, _, view),) = found
    assert isinstance(view, memoryview) and view == octets
    return view


def address(view: memoryview) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(view))


def flags(place: int) -> set[str]:
    """Return what the kernel reports about the mapping around an address."""
    inside = False
    with open("/proc/self/smaps") as maps:
        for line in maps:
            head, _, rest = line.partition(" ")
            if "-" in head:
                begin, end = (int(part, 16) for part in head.split("-"))
                inside = begin <= place < end
            elif inside and head == "VmFlags:":
                return set(rest.split())
    return set()


def test_a_secret_is_locked_and_neither_dumped_nor_inherited(framer: Any) -> None:
    found = flags(address(secret(framer, b"s" * 700)))
    assert found >= {"lo", "dd", "wf"}, found


def test_a_child_sees_zeros(framer: Any) -> None:
    view = secret(framer, b"s" * 5000)
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        os.write(writer, b"z" if bytes(view) == bytes(5000) else b"s")
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(reader, 1) == b"z" and bytes(view) == b"s" * 5000
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("size", [1, 47, 48, 64, 4095, 4096, 65536])
@pytest.mark.parametrize("chunk", [1, 64, 1 << 22])
def test_what_is_given_back_is_wiped(framer: Any, size: int, chunk: int) -> None:
    view = secret(framer, b"s" * size, chunk)
    place = address(view)
    del view
    assert ctypes.string_at(place, size + 64) == bytes(size + 64)  # a kernel may write so far behind


@pytest.mark.parametrize("end", [b"!\n", b"=\n", b""])
def test_half_a_secret_is_wiped_too(framer: Any, end: bytes) -> None:
    place = address(secret(framer, b"s"))  # the same place is taken again
    framer.feed(b"credentials kerberos " + b"c3Nz" * 2000 + end)
    if not end:
        assert ctypes.string_at(place, 6000) == b"s" * 6000
        framer.wipe()
    assert framer.error and ctypes.string_at(place, 6100) == bytes(6100)


def test_a_secret_over_its_cap_is_wiped_too() -> None:
    """The end of the secret overwrites its beginning; the bytes after that end are part of the secret too."""
    framer = compiled().MessageFramer(1 << 16, 3000)
    place = address(secret(framer, b"s"))
    for chunk in (b"credentials kerberos ", b64encode(b"s" * 3000), b"c3Nz" * 20):
        framer.feed(chunk)
    assert ctypes.string_at(place + 100, 2900) == b"s" * 2900
    framer.feed(b"\n")
    assert framer.error == "secret" and ctypes.string_at(place, 3000 + 64) == bytes(3000 + 64)


@pytest.mark.parametrize("end", [b"", b"!"])
def test_what_is_decoded_by_itself_stays_in_no_block(framer: Any, end: bytes) -> None:
    place = address(secret(framer, b"s"))
    text = b64encode(b"s" * 3000) + end
    if end:
        with pytest.raises(FramingError):
            compiled().b64decode(text)
    else:
        assert compiled().b64decode(text) == b"s" * 3000
    assert ctypes.string_at(place, 3064) == bytes(3064)


def test_more_secrets_than_the_arena_holds() -> None:
    framer = compiled().MessageFramer(2 << 20, 1 << 20)
    numbers = random.Random(20261128)
    wanted = [numbers.randbytes(numbers.choice((1, 4000, 65536, 200_000, 1 << 20))) for _ in range(40)]
    held = [secret(framer, octets) for octets in wanted]
    for _ in range(200):
        place = numbers.randrange(len(held))
        held[place] = secret(framer, wanted[place], 4096)
        other = numbers.randrange(len(held))
        assert held[other] == wanted[other]
    places = sorted((address(view), len(view)) for view in held)
    assert all(begin + size <= after for (begin, size), (after, _) in pairwise(places))


def test_all_of_the_arena_comes_back(framer: Any) -> None:
    """If blocks were lost, secrets would get mappings outside the arena, and in the end no memory."""
    first = address(secret(framer, b"s"))
    for size in range(1, 65536, 97):
        assert 0 <= address(secret(framer, b"s" * size)) - first < ARENA


@pytest.mark.parametrize("cap", range(4096 - 64, 4097, 3))
def test_what_a_kernel_writes_too_far_is_nobody_elses(framer: Any, cap: int) -> None:
    """The longest secret of a cap fills the last bytes of a block; the next one is another secret's."""
    before, behind = secret(framer, b"b"), secret(framer, b"n" * 64)
    del before
    found = secret(compiled().MessageFramer(1 << 16, cap), b"s" * cap)
    assert found == b"s" * cap and behind == b"n" * 64


def test_a_secret_larger_than_the_arena_is_wiped_and_its_room_kept(framer: Any) -> None:
    large = compiled().MessageFramer(2 << 20, 1 << 20)
    view = secret(large, b"s" * (1 << 20))
    place = address(view)
    assert flags(place) >= {"dd", "wf"}
    del view
    assert ctypes.string_at(place, 1 << 20) == bytes(1 << 20)
    assert address(secret(large, b"s")) == place


def test_without_the_right_to_lock_it_works_all_the_same() -> None:
    program = (
        "import resource; resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))\n"
        "import os; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "from sso._framing import MessageFramer\n"
        "print(bytes(MessageFramer().feed(b'credentials password c2VjcmV0\\n')[0][2]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "b'secret'\n", done.stderr
