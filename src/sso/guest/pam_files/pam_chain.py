"""Models one PAM service as libpam's chain of modules, and finds the checks that a sign-on would skip.

A sign-on ends the auth stack at our line. The lines after it, in the service's own file or in included files,
do not run. Most of them prove who the user is, which the ticket has done. But a line that can refuse a typed
login whose password is right (pam_wheel, a one-time code after pam_unix) would be skipped: `skipped_checks`
names these lines. They are not recognised by name: we simulate libpam's dispatch (pam_dispatch.c) and let
each of them fail.

A session line that ends its stack would keep our last line from running at open and close: `hides_ours`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

from sso.errors import ConfigError
from sso.guest.pam_files.pam_stack import Line, deciding, lines, remove_lines

NESTED_MAX = 16  # PAM_SUBSTACK_MAX_LEVEL
TRIALS_MAX = 4096  # combinations of outcomes to try; if there are more, assume that each line may refuse

# Modules that prove who the user is, as a ticket does. A typed login needs at least one of them.
PROOFS = {
    *("pam_unix", "pam_sss", "pam_krb5", "pam_winbind", "pam_ldap", "pam_lsass"),
    *("pam_systemd_home", "pam_himmelblau"),
}
# Modules that never refuse: they succeed, or set something up and return PAM_IGNORE.
YES = {
    *("pam_permit", "pam_cap", "pam_echo", "pam_issue", "pam_umask"),
    *("pam_gnome_keyring", "pam_kwallet", "pam_kwallet5"),
}
IGNORE = {"pam_env", "pam_group", "pam_keyinit", "pam_faildelay", "pam_warn"}
# Modules that check the kind of user, and so may choose which proof PAM asks for.
KINDS = {"pam_localuser", "pam_succeed_if", "pam_usertype"}
_POSITIVE, _NEGATIVE = True, False


@dataclass(frozen=True)
class Step:
    """One line of the chain, with its file and its substack depth; a substack itself is also a step."""

    file: str
    line: Line
    level: int
    is_substack: bool = False

    def __str__(self) -> str:
        return f"{self.file}: {self.line.code}"

    @property
    def failures(self) -> set[str]:
        """The actions that libpam may take when the module does not succeed."""
        return {action for code, action in self.line.actions.items() if code != "success"}

    @property
    def refuses(self) -> bool:
        """Whether the line itself may refuse, whatever follows it."""
        return bool({"bad", "die"} & {self.success, *self.failures})

    @property
    def success(self) -> str:
        actions = self.line.actions
        return actions.get("success", actions["default"])


def chain(found: Sequence[Line], type: str, file: str, read: Callable[[str], str]) -> Iterator[Step]:
    """Yield the steps of one type from the lines of a file and of the files that it includes.

    `read` gives the text of a service's file, or raises ConfigError where there is none. Raises ConfigError
    for what libpam refuses.
    """
    yield from _steps(found, type, file, read, 0, 0)


def _steps(
    found: Sequence[Line], type: str, file: str, read: Callable[[str], str], level: int, nested: int
) -> Iterator[Step]:
    if nested > NESTED_MAX:
        raise ConfigError(f"PAM includes {file} within itself")
    for line in found:
        line.check()
        if not line.may_be(type):
            continue
        if not line.brings:
            yield Step(file, line, level)
            continue
        substack = not line.included and line.words[1].lower() == "substack"
        if substack:
            yield Step(file, line, level, True)
        text = list(lines(read(line.brings)))
        yield from _steps(text, type, line.brings, read, level + substack, nested + 1)


def accepts(steps: Sequence[Step], actions: Sequence[str]) -> bool:
    """Whether libpam grants the login when each step has this action (_pam_dispatch_aux)."""
    impression: bool | None = None
    entered: dict[int, bool | None] = {}
    at, level = 0, 0
    while at < len(steps):
        previous, level, action = level, steps[at].level, actions[at]
        if previous < level:
            entered[level] = impression
        if steps[at].is_substack:
            pass
        elif action == "reset":
            impression = entered.get(level)
        elif action in ("ok", "done"):
            impression = impression is not _NEGATIVE
            if action == "done" and impression:
                at = _end(steps, at, level)
        elif action in ("bad", "die"):
            impression = _NEGATIVE
            if action == "die":
                at = _end(steps, at, level)
        elif action != "ignore":
            at, left = _jump(steps, at, int(action))
            if left:
                impression = _NEGATIVE
        at += 1
    return impression is _POSITIVE


def _end(steps: Sequence[Step], at: int, level: int) -> int:
    """Return the index of the last step of a stack or substack."""
    while at + 1 < len(steps) and steps[at + 1].level >= level:
        at += 1
    return at


def _jump(steps: Sequence[Step], at: int, count: int) -> tuple[int, int]:
    """The last step that a jump passes by, and how many it should have passed by besides."""
    level = steps[at].level
    while count and at + 1 < len(steps) and steps[at + 1].level >= level:
        at += 1
        while at + 1 < len(steps) and steps[at + 1].level > level:
            at += 1
        count -= 1
    return at, count


def skipped_checks(text: str, file: str, read: Callable[[str], str]) -> list[Step]:
    """Return the lines after our deciding line that can refuse a user who has proved their identity.

    `text` may have our lines. Raises ConfigError as `chain` does.
    """
    found = list(lines(remove_lines(text)))
    steps = list(chain(found[deciding(found) :], "auth", file, read))
    proofs = [at for at, step in enumerate(steps) if step.line.module in PROOFS]
    choosing = _choosing(steps, set(proofs))
    free = [at for at, step in enumerate(steps) if _is_free(step) and at not in choosing]
    if _trials(steps, free) > TRIALS_MAX:
        free = [at for at in free if not steps[at].failures | {steps[at].success} <= {"ok", "ignore"}]
    if _trials(steps, free) > TRIALS_MAX:
        return [steps[at] for at in free]
    if not any(accepts(steps, tried) for tried in _outcomes(steps, free, set(proofs))):
        raise ConfigError(f"nobody logs in by hand by the lines of {file}: they refuse every password")
    refusing = {at for at in free if _decides(steps, at, free, set(proofs))}
    for one in proofs:
        # If another proof fails, only lines that refuse by themselves count: lines that jump choose a proof.
        rest = [at for at in free if at not in refusing and steps[at].refuses]
        refusing |= {at for at in rest if _decides(steps, at, free, {one})}
    return [steps[at] for at in sorted(refusing)]


def _is_free(step: Step) -> bool:
    """Whether the module's result matters and is unknown."""
    return not step.is_substack and step.line.module not in PROOFS | YES | IGNORE | {"pam_deny"}


def _choosing(steps: Sequence[Step], proved: set[int]) -> set[int]:
    """Return the lines that only choose a proof, as Fedora's pam_localuser before pam_unix does.

    A user for whom a proof is skipped must pass another one; otherwise the line is a check. Lines with the
    same words give the same result, so they are tried together.
    """
    maybe = [at for at, step in enumerate(steps) if _is_free(step) and _chooses(steps, at)]
    known = [_known(step, index in proved) for index, step in enumerate(steps)]
    found = set()
    for at in maybe:
        alike = [one for one in maybe if steps[one].line.words[2:] == steps[at].line.words[2:]]
        jumps = [sorted(steps[one].failures - {"ok", "ignore"}) for one in alike]
        if prod(map(len, jumps)) > TRIALS_MAX:
            continue
        outcomes = (dict(zip(alike, actions, strict=True)) for actions in product(*jumps))
        if all(accepts(steps, [own.get(i, action) for i, action in enumerate(known)]) for own in outcomes):
            found.add(at)
    return found


def _chooses(steps: Sequence[Step], at: int) -> bool:
    """Whether a line skips only proofs when its module does not succeed."""
    if steps[at].line.module not in KINDS or steps[at].success not in ("ok", "ignore"):
        return False
    for action in steps[at].failures - {"ok", "ignore"}:
        if not action.isdigit():
            return False
        end, left = _jump(steps, at, int(action))
        passed = range(at + 1, end + 1)
        if left or not all(steps[one].line.module in PROOFS or _chooses(steps, one) for one in passed):
            return False
    return bool(steps[at].failures - {"ok", "ignore"})


def _trials(steps: Sequence[Step], free: Sequence[int]) -> int:
    return prod(1 + len(steps[at].failures) for at in free)


def _outcomes(steps: Sequence[Step], free: Sequence[int], proved: set[int]) -> Iterator[list[str]]:
    """Yield the actions of all steps for every outcome of the free ones; the others have one known action."""
    known = [_known(step, index in proved) for index, step in enumerate(steps)]
    for outcome in product(*([steps[at].success, *sorted(steps[at].failures)] for at in free)):
        tried = list(known)
        for at, action in zip(free, outcome, strict=True):
            tried[at] = action
        yield tried


def _decides(steps: Sequence[Step], at: int, free: Sequence[int], proved: set[int]) -> bool:
    """Whether, for some outcomes of the other free steps, this step decides if the login is granted."""
    own = {steps[at].success, *steps[at].failures}
    for tried in _outcomes(steps, [index for index in free if index != at], proved):
        if len({accepts(steps, [*tried[:at], action, *tried[at + 1 :]]) for action in own}) > 1:
            return True
    return False


def _known(step: Step, proved: bool) -> str:
    """Return the action of a step whose module is known, or of a free one that succeeds."""
    module, actions = step.line.module, {} if step.is_substack else step.line.actions
    if step.is_substack or module in IGNORE:
        return actions.get("ignore", actions.get("default", "ignore"))
    if module == "pam_deny" or (module in PROOFS and not proved):
        return actions.get("auth_err", actions["default"])
    return step.success


def hides_ours(text: str, file: str, read: Callable[[str], str]) -> Step | None:
    """Return a session line that can keep libpam from reaching our last line; None when there is none."""
    steps = list(chain(list(lines(remove_lines(text))), "session", file, read))
    for at, step in enumerate(steps):
        for action in () if step.is_substack else {step.success, *step.failures}:
            ends = action == "done" and step.level == 0
            if ends or (action.isdigit() and step.level == 0 and _jump(steps, at, int(action))[1]):
                return step
    return None
