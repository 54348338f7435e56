"""examples/framer: a stream becomes messages, at once or from a file; secrets are not shown."""

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "framer"


def decode(stream: bytes, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, str(FOLDER / "framer.py"), *arguments], input=stream, capture_output=True
    )
    return subprocess.CompletedProcess([], done.returncode, done.stdout.decode(), done.stderr.decode())


def test_it_does_what_its_readme_shows() -> None:
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    command, _, shown = (
        readme.partition("$ printf '")[2].partition("\n\n")[0].partition("' | python3 framer.py\n")
    )
    done = decode(command.replace("\\n", "\n").encode())
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [line.strip() for line in shown.splitlines()]


def test_a_recorded_stream_is_read_from_a_file_in_chunks(tmp_path: Path) -> None:
    recorded = tmp_path / "stream"
    recorded.write_bytes(b"\r\n" + b"info spn\r\n" * 2000)
    done = decode(b"", str(recorded))
    assert (done.returncode, done.stdout) == (0, "info spn\n" * 2000)


@pytest.mark.parametrize(
    ("stream", "said"),
    [
        (b"ok\nno\ttab\nok\n", "malformed: octet\n"),
        (b"ok\ncredentials password AAF=\n", "malformed: base64\n"),
        (b"ok\nerror 4", "the last 7 bytes are no whole line\n"),
    ],
)
def test_what_is_no_protocol_ends_it(stream: bytes, said: str) -> None:
    done = decode(stream)
    assert (done.returncode, done.stdout, done.stderr) == (1, "ok\n", said)
