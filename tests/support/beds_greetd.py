"""A guest whose login screen is a real greetd with sso-greetd, inside a sandbox, on a terminal."""

import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from beds import Certificates
from beds_guest import MODULE, SPN

import sso
from sso.demo.guest import Guest
from sso.demo.programs import BedError, find_program
from sso.demo.realm import Realm
from sso.demo.sandbox import Sandbox

CONFIG = "/etc/greetd/sso.toml"
GREETER = "/var/lib/console-sso/sso-greetd"
LIBRARY = "/var/lib/console-sso/lib"
USER = "_greetd"
MakeGreetd = Callable[..., Guest]


def install_greeter(sandbox: Sandbox) -> None:
    """Put sso-greetd inside, for a user who may not enter the developer's home folder."""
    shutil.copytree(
        Path(sso.__file__).parent,
        sandbox.path(f"{LIBRARY}/sso"),
        ignore=shutil.ignore_patterns("*.so", "__py*"),
    )
    wanted = "import sys; sys.exit(sys.version_info < (3, 11))"
    for python in (sys.executable, "/usr/bin/python3"):
        # By a shell: setpriv itself may still enter what its user may not.
        argv = ["/bin/sh", "-c", shlex.join([python, "-I", "-c", wanted])]
        if not sandbox.run(argv, user=USER, check=False).returncode:
            lines = [f"#!{python} -I", "import sys", f"sys.path.insert(0, {LIBRARY!r})"]
            lines += ["from sso.guest.screens.greetd_greeter import main", "sys.exit(main())"]
            sandbox.write(GREETER, "\n".join(lines) + "\n", 0o755)
            return
    raise BedError(f"{USER} may run no Python 3.11 or newer; on Debian: apt-get install greetd python3")


def greetd_toml(greeter: Sequence[str]) -> str:
    """greetd's configuration for a terminal that is none of the machine's."""
    command = shlex.join(greeter).replace('"', '\\"')
    return f'[terminal]\nvt = "none"\n[default_session]\ncommand = "{command}"\nuser = "{USER}"\n'


@pytest.fixture(name="make_greetd")
def make_guest_with_greetd(
    realm: Realm, keytabs: dict[str, Path], certificates: Certificates
) -> Iterator[MakeGreetd]:
    """A function that starts a guest with greetd; `options` are those of sso-greetd."""
    with ExitStack() as stack:

        def make(
            *options: str,
            settings: Sequence[str] = (),
            before: Callable[[Sandbox], None] = lambda sandbox: None,
        ) -> Guest:
            greetd = find_program("greetd")
            sandbox = stack.enter_context(Sandbox())
            sandbox.use_realm(realm)
            sandbox.use_pam_module(MODULE)  # of login: Debian's greetd includes that
            sandbox.path("/etc/console-sso").mkdir(exist_ok=True)
            for name in ("certificate", "key"):
                text = getattr(certificates.guest, name).read_text()
                sandbox.write(f"/etc/console-sso/{name}.pem", text, 0o600)
            install_greeter(sandbox)
            sandbox.write(CONFIG, greetd_toml([GREETER, *options]))
            before(sandbox)
            lines = ['login = "greetd"', *settings]
            lines += [f'tls_{name} = "/etc/console-sso/{name}.pem"' for name in ("certificate", "key")]
            screen = (greetd, "-c", CONFIG)
            guest = Guest(sandbox, spn=SPN, keytab=keytabs["deleg"], settings=lines, screen=screen)
            return stack.enter_context(guest)

        yield make
