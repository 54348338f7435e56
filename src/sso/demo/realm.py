"""A throw-away Kerberos realm: one MIT krb5kdc on loopback, with all its files in one temporary folder."""

import os
import re
import secrets
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from .lifetime import AutoOpen
from .programs import SEARCH_PATH, BedError, find_program, run_program

_START_SECONDS = 5.0
_STOP_SECONDS = 3.0

# For all clients: no DNS, no canonical names, TCP only, AES only. The same text serves the clients on this
# machine and /etc/krb5.conf inside a sandbox.
_CLIENT_CONFIG = """\
[libdefaults]
    default_realm = {name}
    dns_lookup_kdc = false
    dns_lookup_realm = false
    dns_canonicalize_hostname = false
    rdns = false
    qualify_shortname = ""
    udp_preference_limit = 1
    forwardable = true
    ticket_lifetime = 10h
    spake_preauth_groups = edwards25519
    permitted_enctypes = {enctypes}

[realms]
{realms}
[domain_realm]
{domains}"""

_KDC_CONFIG = """\
[kdcdefaults]
    kdc_listen = ""
    kdc_tcp_listen = 127.0.0.1:{port}
    spake_preauth_kdc_challenge = edwards25519

[realms]
    {name} = {{
        database_module = bed
        key_stash_file = {database}/stash
        acl_file = {database}/acl
        master_key_type = aes256-cts-hmac-sha1-96
        supported_enctypes = aes256-cts-hmac-sha1-96:normal aes128-cts-hmac-sha1-96:normal
        default_principal_flags = +preauth
        max_life = 24h
        max_renewable_life = 7d
    }}

[dbmodules]
    bed = {{
        db_library = db2
        database_name = {database}/principal
        disable_last_success = true
        disable_lockout = true
    }}

[logging]
    kdc = FILE:{log}
    admin_server = FILE:{database}/admin.log
    default = FILE:{database}/other.log
"""

_ENCTYPES = (
    "aes256-cts-hmac-sha1-96 aes128-cts-hmac-sha1-96 aes256-cts-hmac-sha384-192 aes128-cts-hmac-sha256-128"
)


class Realm(AutoOpen):
    """A private KDC with principals, keytabs and the environment that leads programs to it.

    `name` is the realm, `domain` the DNS domain that belongs to it (default: the name in lower case).
    `rcache` is the folder of the replay caches for programs started with `env` (default: one in `folder`).
    Use it as a context manager, or call `open()` and `close()`. Two realms may run at the same time.
    The KDC ends with the thread that started it, so that a killed test run leaves nothing behind.
    """

    def __init__(self, name: str = "TEST.EXAMPLE", *, domain: str = "", rcache: Path | None = None) -> None:
        self.name = name
        self.domain = domain or name.lower()
        self.port = 0
        self._rcache = rcache
        self._folder: Path | None = None
        self._kdc: subprocess.Popen[bytes] | None = None
        self._guard: socket.socket | None = None
        self._neighbours: list[Realm] = []
        self._passwords: dict[str, str] = {}

    # Life of the realm

    def open(self) -> None:
        """Create the folder and the empty database, and start the KDC.

        Raises BedError when a program is missing (with its Debian package) or the KDC does not come up.
        """
        for program in ("krb5kdc", "kdb5_util", "kadmin.local", "kinit", "setpriv"):
            find_program(program)
        self._folder = Path(tempfile.mkdtemp(prefix="sso-realm-"))
        try:
            # Other users read krb5.conf here; secrets are in a folder of mode 0700 or have mode 0600.
            self._folder.chmod(0o755)
            self._database.mkdir(mode=0o700)
            (self.folder / "rcache").mkdir(mode=0o700)
            self._reserve_port()
            self._write_config()
            self.run(
                [find_program("kdb5_util"), "create", "-s", "-r", self.name, "-P", secrets.token_hex(16)]
            )
            self.start()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop the KDC and remove the folder; may be called twice."""
        self.stop()
        if self._guard is not None:
            self._guard.close()
            self._guard = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def start(self) -> None:
        """Start the KDC, on the same port as before; nothing happens when it runs already.

        Raises BedError with the last lines of the KDC's log when it is not ready within 5 s.
        """
        if self._kdc is not None:
            return
        self._kdc = subprocess.Popen(
            [find_program("setpriv"), "--pdeathsig", "KILL", find_program("krb5kdc"), "-n"],
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        if not self._started():
            self.stop()
            raise BedError(f"krb5kdc does not start:\n{self.log()[-2000:]}")

    def stop(self) -> None:
        """Stop the KDC: clients get "connection refused" until `start`; nothing happens when it is down."""
        kdc, self._kdc = self._kdc, None
        if kdc is None:
            return
        kdc.terminate()
        kdc.send_signal(signal.SIGCONT)
        try:
            kdc.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            kdc.kill()
            kdc.wait()
        if kdc.stderr is not None:
            kdc.stderr.close()

    def pause(self) -> None:
        """Make the KDC answer nobody: it accepts connections, but requests wait until `resume`."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused KDC go on."""
        self._running().send_signal(signal.SIGCONT)

    # For programs that use the realm

    @property
    def folder(self) -> Path:
        """The temporary folder of this realm; BedError when the realm is not open."""
        if self._folder is None:
            raise BedError(f"the realm {self.name} is not open")
        return self._folder

    @property
    def krb5_conf(self) -> Path:
        """The clients' krb5.conf; the text may be copied anywhere on this machine."""
        return self.folder / "krb5.conf"

    @property
    def rcache(self) -> Path:
        """The folder of the replay caches."""
        return self._rcache or self.folder / "rcache"

    @property
    def ccache(self) -> Path:
        """The default credential cache of programs started with `env`."""
        return self.folder / "ccache"

    @property
    def env(self) -> dict[str, str]:
        """The whole environment for a program of this realm, without the caller's variables."""
        return {
            "PATH": SEARCH_PATH,
            "LC_ALL": "C.UTF-8",
            "HOME": str(self.folder),
            "KRB5_CONFIG": str(self.krb5_conf),
            "KRB5_KDC_PROFILE": str(self.folder / "kdc.conf"),
            "KRB5CCNAME": f"FILE:{self.ccache}",
            "KRB5_KTNAME": f"FILE:{self.folder / 'keytab'}",
            "KRB5RCACHEDIR": str(self.rcache),
        }

    def log(self) -> str:
        """Return what the KDC has logged so far."""
        log = self.folder / "kdc.log"
        return log.read_text(errors="replace") if log.exists() else ""

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        stdin: str = "",
        check: bool = True,
        timeout: float = 20.0,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program with the realm's environment plus `env`, and return what it said.

        Raises BedError with the program's own words when it fails and `check` is set, or after `timeout` s.
        """
        words = [str(word) for word in argv]
        return run_program(words, self.env | dict(env or {}), stdin=stdin, check=check, timeout=timeout)

    # Principals, keytabs, tickets

    def kadmin(self, *queries: str) -> str:
        """Run kadmin.local queries, all in one process, and return its output.

        Raises BedError with the first complaint: kadmin.local itself ends with 0 whatever happens.
        """
        done = self.run([find_program("kadmin.local"), "-r", self.name], stdin="\n".join(queries) + "\n")
        if done.stderr.strip():
            raise BedError(f"kadmin.local: {done.stderr.strip()}")
        return done.stdout

    def principal(self, name: str, password: str | None = None, options: Sequence[str] = ()) -> None:
        """Add a principal; without a password it gets a random key (a service). See `principals`."""
        self.principals({name: password}, options)

    def principals(self, passwords: Mapping[str, str | None], options: Sequence[str] = ()) -> None:
        """Add several principals at once, all with the same kadmin `options` such as "+ok_as_delegate".

        Raises BedError for a principal that exists, and for a password with a quote or a line end.
        """
        queries = []
        for name, password in passwords.items():
            if password is not None and re.search(r'["\n]', password):
                raise BedError("a password of the test bed may hold no quote and no line end")
            key = "-randkey" if password is None else f'-pw "{password}"'
            queries.append(" ".join(["addprinc", "-clearpolicy", *options, key, name]))
        self.kadmin(*queries)
        self._passwords |= {name: password for name, password in passwords.items() if password is not None}

    def password(self, name: str) -> str:
        """The password with which a principal was added."""
        return self._passwords[name]

    def keytab(self, path: Path, *spns: str, wrong_key: bool = False) -> Path:
        """Write the keys of services to a keytab of mode 0600 and return its path.

        With `wrong_key` the KDC then changes its own copy under the same version number: the keytab looks
        right and decrypts nothing.
        """
        said = self.kadmin(*(f'ktadd -k "{path}" -norandkey {spn}' for spn in spns))
        path.chmod(0o600)
        if wrong_key:
            versions = dict(re.findall(r"Entry for principal (\S+) with kvno (\d+)", said))
            queries = ((f"cpw -randkey {spn}", f"modprinc -kvno {versions[spn]} {spn}") for spn in spns)
            self.kadmin(*(query for pair in queries for query in pair))
        return path

    def kinit(self, user: str, *options: str, ccache: Path | None = None) -> Path:
        """Get a ticket for a principal with its password and return the cache file (default: `ccache`)."""
        path = ccache or self.ccache
        argv = [find_program("kinit"), *options, "-c", f"FILE:{path}", user]
        self.run(argv, stdin=self.password(user) + "\n")
        return path

    def know(self, other: "Realm", *, trust: bool = False) -> None:
        """Tell this realm's krb5.conf where another open realm's KDC is.

        With `trust`, users of `other` can also get tickets for services of this realm.
        """
        self._neighbours.append(other)
        self._write_config()
        if trust:
            shared = secrets.token_hex(16)
            for realm in (self, other):
                realm.kadmin(f'addprinc -clearpolicy -pw "{shared}" krbtgt/{self.name}@{other.name}')

    # Inside

    @property
    def _database(self) -> Path:
        return self.folder / "database"

    def _reserve_port(self) -> None:
        # krb5kdc sets SO_REUSEPORT: two KDCs that chose the same port BOTH start and get each other's
        # requests. So the port is not guessed, it is held: this bound socket, which never listens, keeps
        # the number ours for the life of the realm, and the KDC shares it by the same option and uid.
        self._guard = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._guard.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._guard.bind(("127.0.0.1", 0))
        self.port = self._guard.getsockname()[1]

    def _write_config(self) -> None:
        realms = [self, *self._neighbours]
        client = _CLIENT_CONFIG.format(
            name=self.name,
            enctypes=_ENCTYPES,
            realms="".join(
                f"    {realm.name} = {{\n        kdc = 127.0.0.1:{realm.port}\n    }}\n" for realm in realms
            ),
            domains="".join(
                f"    {dot}{realm.domain} = {realm.name}\n" for realm in realms for dot in (".", "")
            ),
        )
        self.krb5_conf.write_text(client)
        self.krb5_conf.chmod(0o644)
        kdc = _KDC_CONFIG.format(
            name=self.name, port=self.port, database=self._database, log=self.folder / "kdc.log"
        )
        (self.folder / "kdc.conf").write_text(kdc)

    def _started(self) -> bool:
        # With -n krb5kdc says "starting..." on stderr once its sockets listen: an event, no polling. Later
        # it speaks to its log file only, so the pipe cannot fill up and stop it.
        kdc, said = self._running(), b""
        deadline = time.monotonic() + _START_SECONDS
        assert kdc.stderr is not None
        while b"starting..." not in said:
            left = max(0.0, deadline - time.monotonic())
            if not select.select([kdc.stderr], [], [], left)[0]:
                return False
            chunk = os.read(kdc.stderr.fileno(), 4096)
            if not chunk:
                return False
            said += chunk
        return True

    def _running(self) -> subprocess.Popen[bytes]:
        if self._kdc is None:
            raise BedError(f"the KDC of {self.name} is not running")
        return self._kdc
