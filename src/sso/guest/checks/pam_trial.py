"""Checks that the real libpam runs our lines as intended, and all other lines as without ours."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from sso.doctor import Finding, not_checked, ok, wrong
from sso.errors import ConfigError
from sso.guest.checks.guest import ExaminedGuest
from sso.guest.checks.libpam import CALLS, SAYS_NO, SAYS_NOTHING, SAYS_YES, Call, Ran, TrialError, run
from sso.guest.pam_files.install_pam import pam_folder
from sso.guest.pam_files.pam_stack import MARK, MODULE, remove_lines

OURS = MODULE.removesuffix(".so")
KNOWN = {"pam_deny.so": SAYS_NO, "pam_group.so": SAYS_NOTHING}  # they behave like the real modules
FOLDERS = ("usr/lib/pam.d", "etc/pam.d")  # the later folder wins


def tried(guest: ExaminedGuest, install: str) -> Finding:
    """Run trials of the login screen's service and return one finding."""
    if os.geteuid():
        return not_checked("what libpam makes of it: only root can try")
    files = pam_files(guest.system.root)
    try:
        faults = list(_faults(guest, files))
    except (TrialError, ConfigError) as error:
        return not_checked(f"what libpam makes of it: {error}")
    if faults:
        mend = f"Compare with: {install} --dry-run; without ours: {install} --remove"
        return wrong(f"libpam reads {guest.service} otherwise than it was meant: {'; '.join(faults)}", mend)
    return ok("libpam itself runs our lines in their places")


def pam_files(root: Path) -> dict[str, bytes]:
    """Return the PAM files of a machine by name, as libpam finds them."""
    paths = (path for folder in FOLDERS for path in sorted((root / folder).glob("*")))
    return {path.name: path.read_bytes() for path in paths if path.is_file()}


def _faults(guest: ExaminedGuest, files: Mapping[str, bytes]) -> Iterator[str]:
    names = {path.name for path in pam_folder(guest.system.root).glob("*.so")} | {MODULE}
    here = pam_folder(Path("/"))

    def trial(files: Mapping[str, bytes], ours: str, others: str) -> dict[str, Ran]:
        substitutes = dict.fromkeys(names, others) | KNOWN | {MODULE: ours}
        return run(guest.service, files, here, substitutes)

    signed_on = [trial(files, SAYS_YES, others) for others in (SAYS_YES, SAYS_NOTHING)]
    yield from sorted({fault for ran in signed_on for fault in _misplaced(ran)})
    if not any(call.module == OURS for ran in signed_on for call in ran["auth"].calls):
        yield "it runs none of our auth lines"
    bare = {name: without_ours(text) for name, text in files.items()}
    if all(MARK.encode() not in text for text in files.values()):
        return  # lines written by hand: we do not know the file without them
    for others in (SAYS_YES, SAYS_NOTHING):
        with_us, without = trial(files, SAYS_NOTHING, others), trial(bare, SAYS_NOTHING, others)
        yield from (f"our {type} lines change a login by hand" for type in _changed(with_us, without))


def without_ours(text: bytes) -> bytes:
    return remove_lines(text.decode("latin-1")).encode("latin-1")


def _misplaced(ran: Mapping[str, Ran]) -> Iterator[str]:
    """Yield errors in the positions of our lines, from a run in which all of them succeed."""
    auth, account, session = (ran[type].calls for type in CALLS)
    if auth and auth[0].module != OURS:
        yield f"{auth[0].module} is the first module of auth, not ours"
    decided = [at for at, call in enumerate(auth) if _has_no(call, "early")]
    if decided and any(call.module != OURS for call in auth[decided[-1] + 1 :]) and not _jumps(auth):
        yield f"{auth[-1].module} is asked behind our line that decides"
    for type, calls in (("account", account), ("session", session)):
        if calls and (calls[0].module != OURS or "check" not in calls[0].arguments.split()):
            yield f"{calls[0].module} is the first module of {type}, not ours with check"
    if session and ran["session"].code == 0 and not _has_no(session[-1], "check"):
        yield f"{session[-1].module} is the last module of session, so nobody hears that one opens"


def _has_no(call: Call, word: str) -> bool:
    return call.module == OURS and word not in call.arguments.split()


def _jumps(auth: tuple[Call, ...]) -> bool:
    """Whether our line may jump to the module that opens the keyring, as in GDM's own stack."""
    return "token" in auth[0].arguments.split()


def _changed(with_us: Mapping[str, Ran], without: Mapping[str, Ran]) -> Iterator[str]:
    for type in CALLS:
        one, other = ((ran[type].code, _others(ran[type])) for ran in (with_us, without))
        if one != other:
            yield type


def _others(ran: Ran) -> list[str]:
    """Return the modules without ours and without pam_group, which our lines run once more."""
    return [call.module for call in ran.calls if call.module not in (OURS, "pam_group")]
