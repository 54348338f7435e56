"""Keeps built files by key: each entry is complete or absent, has one builder, and only the newest stay."""

import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

KEPT = 3


def home() -> Path:
    """$CONSOLE_SSO_CACHE, or ~/.cache/console-sso/vm."""
    given = os.environ.get("CONSOLE_SSO_CACHE")
    return Path(given) if given else Path.home() / ".cache" / "console-sso" / "vm"


def digest(*parts: str | bytes | Path) -> str:
    """A key of texts, bytes and the contents of files."""
    whole = hashlib.sha256()
    for part in parts:
        octets = part.read_bytes() if isinstance(part, Path) else part
        octets = octets.encode() if isinstance(octets, str) else octets
        whole.update(len(octets).to_bytes(8, "big") + octets)
    return whole.hexdigest()[:20]


def say(text: str) -> None:
    """A line of progress."""
    print(f"vm: {text}", file=sys.stderr, flush=True)


@contextmanager
def entry(folder: Path, name: str, key: str, build: Callable[[Path], None]) -> Iterator[Path]:
    """Context manager: the folder NAME-KEY, filled by `build` if it is missing, and kept while this is open.

    It is built under another name, so an interrupted build is never taken for a whole one. Of the entries
    with this name only the newest three stay, and those in use.
    """
    folder.mkdir(parents=True, exist_ok=True)
    whole = folder / f"{name}-{key}"
    with _locked(folder / f".lock-{name}", f"another process builds {name}"):
        if not whole.is_dir():
            for left_over in folder.glob(f".building-{name}-*"):
                shutil.rmtree(left_over)
            half = Path(tempfile.mkdtemp(prefix=f".building-{name}-", dir=folder))
            try:
                build(half)
                half.rename(whole)
            except BaseException:
                shutil.rmtree(half, ignore_errors=True)
                raise
        os.utime(whole)
        in_use = os.open(whole, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(in_use, fcntl.LOCK_SH)
        _prune(folder, name)
    try:
        yield whole
    finally:
        os.close(in_use)


@contextmanager
def _locked(path: Path, why: str) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"{why}: waiting for it")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _prune(folder: Path, name: str) -> None:
    entries = sorted(folder.glob(f"{name}-*"), key=lambda path: path.stat().st_mtime, reverse=True)
    for old in entries[KEPT:]:
        descriptor = os.open(old, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            shutil.rmtree(old)
        finally:
            os.close(descriptor)
