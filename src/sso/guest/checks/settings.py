"""Checks the configuration, the users and groups that it names, and the mechanisms."""

from collections.abc import Iterator
from functools import partial
from shlex import quote

from sso.doctor import Finding, System, ok, warning, wrong
from sso.errors import ConfigError, MechanismError
from sso.guest import mechanisms as strangers
from sso.guest.checks.guest import AGENT, ExaminedGuest, start
from sso.guest.config import GuestConfig, load
from sso.guest.import_trial import tried
from sso.mech import OURS
from sso.mech import load as load_mechanism

_WRITABLE = 0o022
_PACKAGES = "python3-gssapi python3-pyasn1"


def configuration(system: System, path: str) -> tuple[GuestConfig, list[Finding]]:
    """Return the configuration and the findings; the defaults if it cannot be read."""
    file = system.path(path)
    try:
        config = load(str(file))
    except ConfigError as error:
        found = str(error).removeprefix(f"{file}: ")
        return GuestConfig(), [wrong(f"{path}: {found}", _cure(system, path))]
    findings = [ok(f"{path}: port {config.port}, login {config.login}, disconnect {config.disconnect}")]
    folder = file.parent.stat()
    if folder.st_uid != 0 or folder.st_mode & _WRITABLE:
        inside = path.rpartition("/")[0]
        findings.append(
            wrong(
                f"{inside} belongs to {system.user_name(folder.st_uid)}, mode {folder.st_mode & 0o7777:o}",
                f"Make it root's alone: chown root:root {inside} && chmod 755 {inside}",
            )
        )
    return config, findings


def _cure(system: System, path: str) -> str:
    try:
        found = system.path(path).stat()
    except OSError:
        return f'Write {path}, with spn = "host/NAME" of the keytab, or name another file by --config'
    if found.st_uid != 0 or found.st_mode & _WRITABLE:
        return f"Make it root's alone: chown root:root {path} && chmod 644 {path}"
    return f"Correct that key or line of {path}, then: {start(system, AGENT, anew=True)}"


def users(guest: ExaminedGuest) -> Iterator[Finding]:
    """Check the two system users: they exist, are not root, and differ."""
    system, config = guest.system, guest.config
    uids: dict[int, str] = {}
    for key in ("channel_user", "acceptor_user"):
        name = getattr(config, key)
        account = system.user(name)
        if account is None:
            mend = f"Run: systemd-sysusers console-sso.conf (or name another user as {key} in {guest.path})"
            yield wrong(f"there is no user {name}", mend)
        elif account.uid == 0:
            yield wrong(f"{name} is root", f"Name a user without privileges as {key} in {guest.path}")
        elif account.uid in uids:
            mend = f"Name users with different uids as channel_user and acceptor_user in {guest.path}"
            yield wrong(f"{uids[account.uid]} and {name} have the same uid {account.uid}", mend)
        else:
            uids[account.uid] = name
    if len(uids) == 2:
        yield ok(" and ".join(f"{name} (uid {uid})" for uid, name in uids.items()))


def rules(guest: ExaminedGuest) -> Iterator[Finding]:
    """Check that the groups in the rules exist, since a missing group allows no user."""
    config = guest.config
    missing = [name for name in config.allowed_groups if not guest.system.has_group(name)]
    for name in missing:
        mend = f"Run: groupadd {quote(name)} (or take it out of allowed_groups in {guest.path})"
        yield wrong(f"there is no group {name}, so it lets nobody in", mend)
    if not missing:
        groups = ", ".join(config.allowed_groups) or "everybody"
        yield ok(f"uids from {config.min_uid} on, of {groups}; never root")


def mechanisms(guest: ExaminedGuest) -> Iterator[Finding]:
    """Check that each listed mechanism is installed and can be loaded."""
    good = []
    for name in guest.config.mechanisms:
        if name not in OURS:
            use = partial(strangers.use, guest.config, name)
            why = tried(use, strangers.TRY_SECONDS)
            if why:
                yield wrong(why, f"Mend its table, install it, or take it out of mechanisms in {guest.path}")
            else:
                good.append(name)
            continue
        try:
            load_mechanism(name, guest.config.mechanisms)
            good.append(name)
        except ConfigError as error:
            yield wrong(str(error), f"Install it, or take it out of mechanisms in {guest.path}")
        except MechanismError as error:
            mend = f"On Debian: apt install {_PACKAGES} (or take {name} out of mechanisms in {guest.path})"
            yield wrong(str(error), mend)
    if good:
        yield ok(", ".join(good))
    if not set(guest.config.mechanisms) & {"GSSAPI", "password"}:
        yield warning("neither GSSAPI nor password is there: only a mechanism of your own signs anybody in")
