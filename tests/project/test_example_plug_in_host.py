"""examples/plug-in-host: the plug-in point as a library, in somebody else's program."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[2] / "examples" / "plug-in-host" / "plug_in_host.py"


@pytest.mark.proves("S068", "S072")
def test_the_example_runs_a_plug_in(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "port"))
        server.listen()
        plug_in = [
            sys.executable,
            "-I",
            "-S",
            "-c",
            "import os; os.write(1, os.read(0, 5)[::-1]); raise SystemExit(7)",
        ]
        host = subprocess.Popen(
            [sys.executable, str(PROGRAM), f"unix:{tmp_path}/port", "--", *plug_in],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)},
            stderr=subprocess.PIPE,
            text=True,
        )
        server.settimeout(60)
        guest, _ = server.accept()
        with guest:
            guest.settimeout(60)
            guest.sendall(b"hello")
            assert guest.recv(10) == b"olleh"
            said = host.communicate(timeout=60)[1]
    assert host.returncode == 7
    assert said.splitlines() == ["spice.sso.0: started 0", "spice.sso.0: exited 7"]
