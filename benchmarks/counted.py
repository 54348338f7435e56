"""The process that callgrind measures: it runs CASE so many times. See bench_instructions.py.

python benchmarks/counted.py CASE TIMES; the kernel is chosen by SSO_BASE64.
"""

import base64
import sys
from itertools import repeat

from peers import framed

from sso import _framing

SECRET = bytes(range(256)) * 64
LINES = {
    "authenticate": b"authenticate kerberos password\n",
    "ok": b"ok\n",
    "secret of 16K": b"credentials kerberos " + base64.b64encode(SECRET) + b"\n",
}


def main(case: str, times: int) -> None:
    read = framed(_framing)
    for chunk in repeat(LINES[case], times):
        read(chunk)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
