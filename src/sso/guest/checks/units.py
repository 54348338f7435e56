"""Checks the three services and their sockets, as systemd reports them."""

from collections.abc import Iterator

from sso.doctor import Finding, System, not_checked, ok, warning, wrong
from sso.guest.checks.guest import AGENT, ExaminedGuest
from sso.guest.config import GuestConfig

SERVICES = ("console-sso-agent", "console-sso-channel", "console-sso-acceptor")
SOCKETS = (
    *("console-sso-agent", "console-sso-channel", "console-sso-acceptor"),
    *("console-sso-greeter", "console-sso-verdict"),
)
PORT = "/dev/virtio-ports/spice.sso.0"  # the device for which the units wait
DROP_IN = "/etc/systemd/system/console-sso-.service.d/port.conf"
RESTART = f"systemctl restart {AGENT}"  # this module is only for systemd
_PROPERTIES = "Id,LoadState,ActiveState,SubState,Result,NRestarts,ExecMainStatus"

Unit = dict[str, str]


def show(system: System, *names: str) -> dict[str, Unit]:
    """Return the properties of units by name; empty when systemd does not answer."""
    answer = system.ask(["systemctl", "show", f"--property={_PROPERTIES}", "--", *names])
    if answer is None or answer.code:
        return {}
    blocks = (block.splitlines() for block in answer.output.split("\n\n"))
    units = [dict(line.split("=", 1) for line in block if "=" in line) for block in blocks]
    return {unit["Id"]: unit for unit in units if "Id" in unit}


def units(guest: ExaminedGuest) -> Iterator[Finding]:
    """Check that each service runs and systemd holds each socket."""
    if not guest.system.has_systemd:
        yield not_checked("systemd does not run here")
        return
    services = [f"{name}.service" for name in SERVICES]
    sockets = [f"{name}.socket" for name in SOCKETS]
    found = show(guest.system, *services, *sockets)
    if not found:
        yield not_checked("systemctl does not answer")
        return
    good, bad = [], dict[Finding, list[str]]()
    for name in services:
        unit = found.get(name, {})
        if problem := _problem(guest, name, unit):
            bad.setdefault(problem, []).append(name)
        else:
            again = unit.get("NRestarts", "0")
            good.append(name if again == "0" else f"{name} (started anew {again} times)")
    for problem, names in bad.items():
        yield problem._replace(found=f"{', '.join(names)}: {problem.found}")
    if good:
        yield ok(f"active: {', '.join(good)}")
    if found.get(services[0], {}).get("ActiveState") == "active":
        yield from _sockets(found, sockets)


def _problem(guest: ExaminedGuest, name: str, unit: Unit) -> Finding | None:
    """Return what is wrong with a service, without its name, because often all have the same fault."""
    load, state = unit.get("LoadState", "not-found"), unit.get("ActiveState", "")
    if load == "not-found":
        return wrong("there is no such unit", "On Debian: apt install --reinstall console-sso-guest")
    if load == "masked":
        return wrong("masked", f"Run: systemctl unmask {name} && {RESTART}")
    if load != "loaded":
        return wrong(f"cannot be loaded ({load})", f"Correct what `systemctl status {name}` shows")
    if state == "active":
        return None
    if state in ("failed", "activating") and unit.get("Result", "success") != "success":
        said = _last_words(guest.system, name)
        found = f"failed ({unit['Result']}, exit code {unit.get('ExecMainStatus', '?')})"
        return wrong(f"{found}: {said}" if said else found, f"Correct what it says, then: {RESTART}")
    if state == "activating":
        return wrong("waits to be joined with the others", f"Run: {RESTART}")
    if not guest.system.path(PORT).exists():
        return _without_port(guest.config)
    return wrong(state or "not active", "Run: systemctl start console-sso-agent.service")


def _without_port(config: GuestConfig) -> Finding:
    if config.port == GuestConfig().port:
        return warning("started when the port is there")
    return wrong(
        f"waits for {PORT}, and the port is {config.port}",
        f'Write "[Unit]" and "ConditionPathExists=" to {DROP_IN}, then:'
        " systemctl daemon-reload && systemctl start console-sso-agent.service",
    )


def _last_words(system: System, name: str) -> str:
    """Return the last log lines of a unit's processes."""
    argv = ["journalctl", "--boot", "--no-pager", "--quiet", "--output=cat", "--lines=1"]
    answer = system.ask([*argv, f"_SYSTEMD_UNIT={name}"])
    return answer.output.splitlines()[-1] if answer and not answer.code and answer.output else ""


def _sockets(found: dict[str, Unit], names: list[str]) -> Iterator[Finding]:
    closed = [name for name in names if found.get(name, {}).get("ActiveState") != "active"]
    if closed:
        yield wrong(f"not held by systemd: {', '.join(closed)}", f"Run: {RESTART}")
    else:
        yield ok("all sockets are held by systemd")
