"""What a viewer asks the client before it asks the person; and whose word a run without a name is."""

import os
from pathlib import Path

import pytest
from flows import ALICE, DELEG, Kerberos

from sso.client.exits import Exit
from sso.client.main import main
from sso.client.options import parse
from sso.errors import ConfigError
from sso.policy import Source


def preview(cache: str, *options: str) -> tuple[int, list[str]]:
    """Exit code and states of a preview; the port is one that is not there."""
    reader, writer = os.pipe()
    words = ["--preview", "--status-fd", str(writer), "--port", "unix:/none", "--ccache", cache, *options]
    code = main(words)
    os.close(writer)
    with os.fdopen(reader) as states:
        return code, states.read().splitlines()


@pytest.mark.parametrize(
    ("options", "ticket"),
    [
        (("--spn", DELEG), "policy"),
        (("--spn", DELEG, "--offer-tgt"), "always"),
        (("--spn", DELEG, "--send-ticket"), "always"),
        (
            ("--asked-spn", DELEG, "--offer-tgt"),
            "policy",
        ),  # a file's word, for which no [[guest]] table is there
        ((), "no"),
    ],
)
def test_it_says_as_whom_and_how_far_the_ticket_goes(
    kerberos: Kerberos, options: tuple[str, ...], ticket: str
) -> None:
    code, states = preview(kerberos.cache("alice"), "--no-config", *options)
    assert (code, states) == (Exit.SIGNED_IN, [f"preview {ticket} {ALICE}"])


def test_a_guest_of_the_configuration_may_get_more(kerberos: Kerberos, tmp_path: Path) -> None:
    (tmp_path / "client.toml").write_text(f'[[guest]]\nspn = "{DELEG}"\noffer-tgt = true\n')
    options = ("--config", str(tmp_path / "client.toml"), "--asked-spn", DELEG)
    assert preview(kerberos.cache("alice"), *options)[1] == [f"preview always {ALICE}"]


def test_without_a_ticket_it_says_that(kerberos: Kerberos, tmp_path: Path) -> None:
    code, states = preview(f"FILE:{tmp_path}/none", "--no-config", "--spn", DELEG)
    assert code == Exit.NO_TICKET and states[0].startswith("failed 6 ")


@pytest.mark.parametrize(
    ("words", "source", "generous"),
    [
        ((), Source.TYPED, True),
        (("--spn", DELEG), Source.TYPED, True),
        (("--spn", DELEG, "--named", "configured"), Source.CONFIGURED, True),
        (("--asked-spn", DELEG), Source.FILE, False),
        (("--asked-spn", DELEG, "--named", "signed"), Source.SIGNED, False),
        (("--spn", DELEG, "--named", "file"), Source.FILE, False),
        (("--named", "file"), Source.FILE, False),  # a file that names nobody
        (("--named=signed",), Source.SIGNED, False),
    ],
)
def test_a_strangers_word_switches_no_generous_option_on(
    words: tuple[str, ...], source: Source, generous: bool
) -> None:
    for option in ("--offer-tgt", "--send-ticket", "--trust-any-spn"):
        policy = parse(["--no-config", *words, option]).policy
        assert policy.named is source
        assert (policy.offer_tgt or policy.send_ticket or policy.trust_any_spn) is generous


def test_a_files_word_is_nobody_elses() -> None:
    for source in ("typed", "configured"):
        with pytest.raises(ConfigError, match=f"--asked-spn and --named {source}"):
            parse(["--no-config", "--asked-spn", DELEG, "--named", source])


def test_whom_a_run_is_for(kerberos: Kerberos, capfd: pytest.CaptureFixture[str]) -> None:
    """The port is opened, and nothing is said on it."""
    reader, writer = os.pipe()
    words = ["--no-config", "--spn", DELEG, "--for", "mallory@TEST.EXAMPLE", "--port", f"fd:{writer}"]
    assert main([*words, "--ccache", kerberos.cache("alice")]) == Exit.NOT_ALLOWED
    assert "opened for mallory@TEST.EXAMPLE" in capfd.readouterr().err
    os.set_blocking(reader, False)
    with os.fdopen(reader, "rb", buffering=0) as read:
        assert not read.read()
