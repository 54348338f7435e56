"""Which accounts may be signed in at all; the last word is PAM's."""

import grp
import os
import pwd
from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from sso.guest.agent.rules import Eligibility
from sso.guest.records import is_login_name

NO_SHELLS = ("nologin", "false")


class Checked(Enum):
    """What PAM says without a login screen."""

    GOOD = "good"
    WRONG = "wrong"
    REFUSED = "refused"
    BROKEN = "broken"


class Rules(NamedTuple):
    """The configuration's part: the least uid, and the groups of which one is needed (none: everybody)."""

    min_uid: int = 1000
    allowed_groups: tuple[str, ...] = ()

    def on_uid(self, uid: int) -> Eligibility:
        """The rules that need only a number."""
        if uid == 0:
            return Eligibility.ROOT
        return Eligibility.SYSTEM if uid < self.min_uid else Eligibility.GOOD

    def on_account(
        self, entry: pwd.struct_passwd, groups: Callable[[str, int], list[int]] = os.getgrouplist
    ) -> Eligibility:
        """All rules. It may block as long as a directory service does: call it in a forked process."""
        found = self.on_uid(entry.pw_uid)
        if found is not Eligibility.GOOD:
            return found
        if not is_login_name(entry.pw_name):
            return Eligibility.NAME
        if os.path.basename(entry.pw_shell) in NO_SHELLS:
            return Eligibility.NO_SHELL
        if self.allowed_groups and not self._allowed() & set(groups(entry.pw_name, entry.pw_gid)):
            return Eligibility.NOT_IN_GROUP
        return Eligibility.GOOD

    def _allowed(self) -> set[int]:
        """The ids of the allowed groups; one that does not exist allows nobody."""
        found = set()
        for name in self.allowed_groups:
            try:
                found.add(grp.getgrnam(name).gr_gid)
            except KeyError:
                continue
        return found
