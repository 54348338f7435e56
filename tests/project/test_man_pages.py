"""The manual and the completion of bash name what the programs have: all of it, and nothing else."""

import re
import subprocess
import tomllib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from sso import cli
from sso.client import options
from sso.client.exits import MEANING
from sso.daemon.journal import NAMESPACE
from sso.demo.programs import SEARCH_PATH, find_program
from sso.errors import ConfigError
from sso.guest import log
from sso.guest.config import GuestConfig
from sso.guest.screens.driver import _OURS as OUR_DRIVERS

ROOT = Path(__file__).resolve().parents[2]
MAN = ROOT / "docs" / "man"
PAGES = sorted(path.name for path in MAN.iterdir())
COMPLETIONS = ROOT / "data" / "bash-completion"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# Options of other people's programs that console-sso(7) shows.
FOREIGN = {
    *("--create", "--reload", "--prefix"),  # systemd-tmpfiles, udevadm, pip
    *("--sha1", "--name", "--namespace"),  # uuidgen
}
COMPLETE = """\
source "$1"; shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
[[ $(complete -p "$1") =~ -F\\ ([^ ]+) ]] && "${BASH_REMATCH[1]}" "$1" "${@: -1}" "${@: -2:1}"
for word in "${COMPREPLY[@]}"; do echo "$word"; done
"""

Help = Callable[[Callable[[list[str]], int]], set[str]]


def source(name: str) -> str:
    """The page's text without what roff wants to be escaped."""
    text = (MAN / name).read_text(encoding="utf-8")
    for escaped, meant in (("\\-", "-"), ("\\(dq", '"'), ("\\(ti", "~"), ("\\(aq", "'"), ("\\e", "\\")):
        text = text.replace(escaped, meant)
    return re.sub(r"\\f[A-Z]", "", text)


def section(name: str, title: str) -> str:
    """One section's source."""
    found = re.search(rf"^\.SH {title}\n(.*?)(?=^\.SH |\Z)", source(name), re.MULTILINE | re.DOTALL)
    assert found, f"{name} has no section {title}"
    return found[1]


def tags(name: str, title: str) -> list[str]:
    """What is explained in a section, one by one, without the font macros."""
    lines = re.findall(r"^\.TP\n(.+)\n", section(name, title), re.MULTILINE)
    return [re.sub(r"^\.[A-Z]+ ", "", line) for line in lines]


def named(text: str) -> set[str]:
    """The options in a text."""
    return set(re.findall(r"(?<![\w-])--?[a-z][a-z0-9-]*", text))


def mains() -> dict[str, Callable[[list[str]], int]]:
    """Every program's main, by the program's name."""
    places = {name: place.split(":") for name, place in PROJECT["scripts"].items()}
    return {name: getattr(import_module(module), main) for name, (module, main) in places.items()}


@pytest.fixture
def help_of(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Help:
    """The options that a program's --help shows."""

    def ask(main: Callable[[list[str]], int]) -> set[str]:
        monkeypatch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit):
            main(["--help"])
        shown = re.findall(r"^  (-.*?)(?:  |$)", capsys.readouterr().out, re.MULTILINE)
        return set().union(*map(named, shown))

    return ask


@pytest.mark.parametrize("name", PAGES)
def test_page_renders_without_a_warning(name: str) -> None:
    argv = [find_program("man"), "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", str(MAN / name)]
    environment = {"PATH": SEARCH_PATH, "LC_ALL": "C.UTF-8", "MANROFFSEQ": "", "MANWIDTH": "80"}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout


@pytest.mark.parametrize("name", PAGES)
def test_page_begins_with_its_own_name(name: str) -> None:
    stem, _, number = name.rpartition(".")
    assert source(name).startswith(f".TH {stem.upper()} {number} ")
    assert section(name, "NAME").startswith(f"{stem} - ")


@pytest.mark.parametrize("name", PAGES)
def test_pages_of_ours_that_a_page_refers_to_exist(name: str) -> None:
    ours = {page.rpartition(".")[0] for page in PAGES}
    for page, number in re.findall(r"([\w.-]+) ?\((\d)\)", source(name)):
        assert page not in ours or f"{page}.{number}" in PAGES


def test_every_page_is_in_one_package() -> None:
    lists = [path.read_text(encoding="utf-8").split() for path in (ROOT / "debian").glob("*.manpages")]
    assert sorted(path for paths in lists for path in paths) == [f"docs/man/{name}" for name in PAGES]


@pytest.mark.parametrize("program", sorted(PROJECT["scripts"]))
def test_page_of_a_program_has_its_options(program: str, help_of: Help) -> None:
    page = next(name for name in PAGES if name.rpartition(".")[0] == program)
    assert set().union(*map(named, tags(page, "OPTIONS"))) == help_of(mains()[program])


def test_no_page_names_an_option_that_is_not_there(help_of: Help) -> None:
    commands = [import_module(module).main for module, _ in cli.COMMANDS.values()]
    there = set().union(*map(help_of, [*mains().values(), *commands]))
    for name in PAGES:
        long = {option for option in named(source(name)) if option.startswith("--")}
        assert long <= there | (FOREIGN if name == "console-sso.7" else set()), name


def test_sso_has_its_commands(help_of: Help) -> None:
    assert [tag.replace('"', "").split()[0] for tag in tags("sso.1", "COMMANDS")] == list(cli.COMMANDS)
    for module, _ in cli.COMMANDS.values():
        assert help_of(import_module(module).main) - {"-h"} <= named(source("sso.1")), module


def test_client_page_has_every_exit_code() -> None:
    found = re.findall(r"^\.TP\n\.B (\d+)\n(.+)\.$", section("spice-client-sso.1", "EXIT STATUS"), re.M)
    assert [(int(code), text.lower()) for code, text in found] == [
        (int(code), text.lower()) for code, text in MEANING.items()
    ]


def test_guest_page_has_every_option_with_its_default() -> None:
    page = tomllib.loads("\n".join(tags("console-sso-guest.toml.5", "DESCRIPTION")))
    defaults = {key: value for key, value in GuestConfig._field_defaults.items() if key != "mechanism"}
    assert list(page) == list(defaults)
    assert page == {k: list(v) if isinstance(v, tuple) else v for k, v in defaults.items()}


def test_client_page_has_every_key_with_its_default(tmp_path: Path) -> None:
    file = tmp_path / "client.toml"
    file.write_text("no-such-key = true")
    with pytest.raises(ConfigError, match="known are ") as error:
        options.parse(["--config", str(file)])
    known = str(error.value).partition("known are ")[2].split(", ")
    text = "\n".join(tags("console-sso-client.toml.5", "KEYS"))
    assert sorted(tomllib.loads(text)) == known
    file.write_text(text)
    assert options.parse(["--config", str(file)]) == options.parse(["--no-config"])


@pytest.mark.parametrize("name", ["console-sso-client.toml.5", "console-sso-guest.toml.5"])
def test_example_of_a_configuration_is_right(name: str, tmp_path: Path) -> None:
    example = section(name, "EXAMPLE").partition(".EX\n")[2].partition(".EE\n")[0]
    (tmp_path / "file").write_text(example)
    if "client" in name:
        assert options.parse(["--config", str(tmp_path / "file"), "--spn", "host/lab-1.example.org"])
    else:
        import_module("sso.guest.config").load(str(tmp_path / "file"))


def test_module_page_has_every_argument() -> None:
    code = (ROOT / "pam" / "pam_sso.c").read_text(encoding="utf-8")
    there = re.findall(r'str(?:n?)cmp\(argv\[i\], "(\w+=?)"', code)
    assert there
    assert sorted(tag.split()[0] for tag in tags("pam_sso.8", "ARGUMENTS")) == sorted(there)


def test_agent_page_has_every_unit() -> None:
    there = {path.name for path in (ROOT / "data" / "systemd").iterdir() if path.is_file()}
    there.remove("console-sso-ssh-agent.service")  # has a page of its own
    assert set(re.findall(r"console-sso-\w+\.(?:service|socket)", source("sso-guest-agent.8"))) == there


@pytest.mark.parametrize("driver", OUR_DRIVERS)
def test_readme_and_overview_set_up_every_login_screen(driver: str) -> None:
    screen = "text console" if driver == "getty" else driver
    command = {"gdm": "gdm-ovirtcred", "lightdm": "--service lightdm", "sddm": "--service sddm"}
    readme = re.findall(r"(?m)^\| (.+)$", (ROOT / "README.md").read_text(encoding="utf-8"))
    for entries in (readme, section("console-sso.7", "THE GUEST").split(".TP\n")):
        (entry,) = (entry for entry in entries if entry.lower().startswith(screen))
        assert command.get(driver, "install-pam --service login") in entry


def test_overview_has_the_ids_of_the_journal() -> None:
    text = source("console-sso.7")
    assert str(NAMESPACE) in text
    names = set(re.findall(r"\bsso(?:\.[a-z-]+){2,}", text))
    assert names
    assert names <= set(log.MESSAGE_IDS.values())


@pytest.mark.parametrize("name", PAGES)
def test_files_of_the_package_that_a_page_names_exist(name: str) -> None:
    installed = {"/usr/share/console-sso/getty@.service.d": "systemd/getty@.service.d"}
    for path in re.findall(r"/usr/share/console-sso/[\w@./-]+\w", source(name)):
        for place, here in installed.items():
            path = path.replace(place, f"/usr/share/console-sso/{here}")
        assert (ROOT / "data" / path.removeprefix("/usr/share/console-sso/")).is_file(), path


# Completion


def complete(*words: str) -> list[str]:
    """What bash offers for the last word."""
    argv = [find_program("bash"), "--norc", "--noprofile", "-c", COMPLETE, "bash"]
    done = subprocess.run(
        [*argv, str(COMPLETIONS / words[0]), *words],
        env={"PATH": SEARCH_PATH},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return sorted(done.stdout.split("\n")[:-1])


@pytest.mark.parametrize("program", ["spice-client-sso", "sso-guest-agent"])
def test_completion_offers_the_options(program: str, help_of: Help) -> None:
    assert complete(program, "") == sorted(help_of(mains()[program]))


def test_completion_offers_commands_and_their_options(help_of: Help) -> None:
    assert complete("sso", "") == sorted({*cli.COMMANDS, *help_of(cli.main)})
    for command, (module, _) in cli.COMMANDS.items():
        assert set(complete("sso", command, "-")) == help_of(import_module(module).main)


def test_completion_offers_values(tmp_path: Path) -> None:
    assert complete("spice-client-sso", "--re") == ["--require"]
    assert complete("spice-client-sso", "--require", "") == ["sasl-conf", "tls"]
    assert complete("spice-client-sso", "--spn", "") == []
    assert complete("sso-guest-agent", "--role", "a") == ["acceptor", "agent"]
    assert complete("sso", "install-pam", "--service", "othe") == ["other"]
    assert complete("sso", "doctor", "c") == ["client"]
    assert complete("sso", "trust", "r") == ["remove"]
    assert complete("sso", "trust", "add", "--signs", "") == ["entries", "openings"]
    assert complete("sso", "inventory", "p") == ["public"]
    (tmp_path / "a file").touch()
    assert complete("sso-guest-agent", "--config", f"{tmp_path}/a") == [f"{tmp_path}/a file"]
