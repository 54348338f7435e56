"""Which accounts may be signed in: never root, no system account, only the groups that are named."""

import grp
import os

import pytest
from beds_agent import account

from sso.guest.agent.account import Rules
from sso.guest.agent.rules import Eligibility
from sso.guest.records import is_login_name


@pytest.mark.parametrize(
    ("name", "uid", "shell", "finding"),
    [
        ("alice", 1000, "/bin/sh", Eligibility.GOOD),
        ("root", 0, "/bin/sh", Eligibility.ROOT),
        ("toor", 0, "/bin/sh", Eligibility.ROOT),
        ("daemon", 999, "/bin/sh", Eligibility.SYSTEM),
        ("alice", 1000, "/usr/sbin/nologin", Eligibility.NO_SHELL),
        ("alice", 1000, "/bin/false", Eligibility.NO_SHELL),
        ("-f", 1000, "/bin/sh", Eligibility.NAME),
    ],
)
def test_rules(name: str, uid: int, shell: str, finding: Eligibility) -> None:
    assert Rules().on_account(account(name, uid, shell)) is finding


def test_root_is_refused_whatever_the_least_uid_is() -> None:
    assert Rules(min_uid=0).on_uid(0) is Eligibility.ROOT
    assert Rules(min_uid=1).on_uid(1) is Eligibility.GOOD


@pytest.mark.parametrize(
    ("allowed", "finding"),
    [
        ((), Eligibility.GOOD),
        (("daemon",), Eligibility.GOOD),
        (("no-such-group", "daemon"), Eligibility.GOOD),
        (("bin",), Eligibility.NOT_IN_GROUP),
        (("no-such-group",), Eligibility.NOT_IN_GROUP),
    ],
)
def test_groups(allowed: tuple[str, ...], finding: Eligibility) -> None:
    member = grp.getgrnam("daemon").gr_gid
    found = Rules(1000, allowed).on_account(account("alice", 1000), lambda name, gid: [gid, member])
    assert found is finding


def test_the_primary_group_counts() -> None:
    entry = account("no-such-user", 1000, gid=grp.getgrnam("daemon").gr_gid)
    assert Rules(1000, ("daemon",)).on_account(entry, os.getgrouplist) is Eligibility.GOOD


@pytest.mark.parametrize("name", ["alice", "a.b-c_d", "älice", "a@realm", "CORP\\a b", "x" * 255, "я" * 127])
def test_login_names(name: str) -> None:
    assert is_login_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "-p",
        " a",
        "a ",
        " ",
        "a/b",
        "a:b",
        "a\n",
        "a\0",
        "\x7f",
        "x" * 256,
        "я" * 128,
        "a\u00a0b",
        "\udc80",
    ],
)
def test_names_that_would_be_something_else(name: str) -> None:
    assert not is_login_name(name)
