"""The agent with the real PAM module in a sandbox, and a login program by script as the login screen."""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from beds_agent import Stage, raise_stage
from beds_guest import MODULE
from beds_pam import BARE, COUNTED, SOCKET, Result, call, install_caller
from fake_surroundings import FakeDriver

from sso.demo.sandbox import PAM_MODULE, Sandbox
from sso.guest.agent.faillock import would_lock
from sso.guest.pam_files.pam_stack import add_lines
from sso.guest.records import Kind

TTY = {"tty": "tty1"}
# Not ours to be asked from; an administrator has put our line there all the same.
FOREIGN = ("su", "su-l", "sudo", "sudo-i", "sshd", "cron")


class Bed:
    """An agent whose PAM socket is inside a sandbox, and a login screen that asks PAM when it is told."""

    def __init__(self, guest: Sandbox, folder: Path, service: str) -> None:
        self.guest, self._pool = guest, ThreadPoolExecutor(1)
        self.asked: list[Any] = []
        self.driver = FakeDriver()
        self.driver.service = service
        self.driver.trigger = self._trigger  # type: ignore[method-assign]
        self.stage: Stage = raise_stage(folder, self.driver, {"pam_socket": str(guest.path(SOCKET))})
        conf = folder / "faillock.conf"
        conf.write_text(f"dir = {guest.path('/run/faillock')}\n")
        self.stage.agent.judge._evidence._would_lock = lambda user: would_lock(user, str(conf))

    def _trigger(self, user: str, token: str) -> bool:
        steps = ("authenticate", "acct_mgmt")
        self.asked.append(self._start(*steps, user=user, service=self.driver.service, stop=True))
        return True

    def _start(self, *steps: str, **more: Any) -> Any:
        return self._pool.submit(call, self.guest, *steps, **{"items": TTY} | more)

    def call(self, *steps: str, **more: Any) -> Result:
        """Run a login program while the agent goes on."""
        result: Result = self.wait(self._start(*steps, **more))
        return result

    def wait(self, program: Any) -> Any:
        self.stage.turn(program.done)
        return program.result()

    def run(self, work: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
        return self.wait(self._pool.submit(work, *arguments, **more))

    def guess(self, id: int, password: str) -> int:
        """Run one client with one password for alice; return the answer that it gets."""
        secret = password.encode()
        digest = hashlib.sha256(secret).digest()
        claim = {"kind": Kind.PASSWORD, "digest": digest, "expires": 0, "content": secret}
        self.stage.begin(id)
        self.stage.claim(id, "alice", attempt=id.to_bytes(16, "big"), **claim)  # type: ignore[arg-type]
        heard, code = self.stage.outcome()
        assert heard == id
        self.stage.end(id)
        return code

    def close(self) -> None:
        self._pool.shutdown()
        self.stage.agent.close()
        self.stage.reactor.close()
        for link in (self.stage.channel, self.stage.acceptor):
            link.close()


MakeBed = Callable[[str], Bed]


@pytest.fixture(scope="module")
def guest() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        sandbox.use_pam_module(MODULE)
        sandbox.write("/etc/pam.d/sso-counted", add_lines(COUNTED, PAM_MODULE))
        sandbox.write("/etc/pam.d/sso-strict", add_lines(COUNTED.replace(" deny=100", ""), PAM_MODULE))
        for service in ("login", *FOREIGN):
            sandbox.write(f"/etc/pam.d/{service}", BARE.replace("@", ""))
        sandbox.path(SOCKET).parent.mkdir(exist_ok=True)
        install_caller(sandbox)
        yield sandbox


@pytest.fixture
def make_bed(guest: Sandbox, tmp_path: Path) -> Iterator[MakeBed]:
    beds: list[Bed] = []

    def make(service: str) -> Bed:
        guest.path("/run/faillock").mkdir(exist_ok=True)
        guest.run(["faillock", "--user", "alice", "--reset"])
        beds.append(Bed(guest, tmp_path / "run", service))
        return beds[-1]

    yield make
    for bed in beds:
        bed.close()
