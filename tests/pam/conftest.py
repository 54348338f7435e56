"""The sandbox of the PAM module's tests."""

import shutil
import subprocess
from collections.abc import Iterator

import pytest
from beds_pam import BARE, CALLER, COUNTED, SOURCE

from sso.demo.sandbox import PAM_MODULE, Sandbox
from sso.guest.pam_files.pam_stack import add_lines


@pytest.fixture(scope="session")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A sandbox with the module built from the source, and Debian's own login with our lines."""
    build = tmp_path_factory.mktemp("pam")
    subprocess.run(["make", "-s", "-C", SOURCE, f"BUILD={build}"], check=True)
    with Sandbox() as sandbox:
        sandbox.use_pam_module(build / "pam_sso.so")
        sandbox.write("/etc/pam.d/sso-bare", BARE.replace("@", ""))
        sandbox.write("/etc/pam.d/sso-token", BARE.replace("@", "token", 1).replace("@", ""))
        sandbox.write("/etc/pam.d/sso-counted", add_lines(COUNTED, PAM_MODULE))
        shutil.copyfile(CALLER, sandbox.path("/etc/console-sso/caller.py"))
        yield sandbox
