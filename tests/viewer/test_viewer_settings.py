"""viewer.toml, which program is started for it, and how little a connection file changes of that."""

import os
import re
from pathlib import Path
from typing import Any

import pytest

from sso.console.console import Console, Wish
from sso.console.trust import TrustedKey
from sso.console.vouch import ConsoleTable
from sso.errors import ConfigError
from sso.plug.plug import Start
from sso.viewer import settings
from sso.viewer.settings import DEFAULT, Plugin, Settings, chosen, executable, load

ROOT = Path(__file__).resolve().parents[2]
PIN = "sha256:" + "ab" * 32
SPN = "host/vm7.example.org"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Where the system's file and the person's are to be."""
    monkeypatch.setattr(settings, "SYSTEM_CONFIG", str(tmp_path / "system.toml"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "console-sso").mkdir()
    return tmp_path / "system.toml", tmp_path / "console-sso" / "viewer.toml"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of plug-ins with two programs."""
    folder = tmp_path / "plugins"
    folder.mkdir(mode=0o755)
    for name in ("spice-client-sso", "agent-relay"):
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    return folder


# The files


def test_without_a_file_there_is_the_one_plug_in(files: tuple[Path, Path]) -> None:
    found = load()
    assert found == Settings()
    assert found.folder == "/usr/lib/console-sso/plugins" and found.scaling and found.clipboard
    assert found.plugins == (
        Plugin(
            "spice.sso.0",
            "spice-client-sso",
            ("--stay", "--status-fd=3"),
            states=True,
            takes=("spn", "pin"),
            consoles=("*",),
            enabled=True,
        ),
    )


def test_a_person_adds_replaces_and_switches_off(files: tuple[Path, Path]) -> None:
    system, own = files
    system.write_text('folder = "/opt/plugins"\nscaling = false\n[[plugin]]\nport = "a"\nrun = "x/y"\n')
    assert load().plugins == (DEFAULT, Plugin("a", "x/y"))
    own.write_text(
        'scaling = true\nclipboard = false\n[[plugin]]\nport = "spice.sso.0"\nenabled = false\n'
        '[[plugin]]\nport = "a"\nrun = "z"\nparameters = ["-v"]\nconsoles = ["lab-*"]\n'
        '[[plugin]]\nport = "b"\nrun = "b"\nstates = true\ntakes = ["spn"]\n'
    )
    assert load() == Settings(
        folder="/opt/plugins",
        scaling=True,
        clipboard=False,
        plugins=(
            DEFAULT._replace(enabled=False),
            Plugin("a", "z", ("-v",), consoles=("lab-*",)),
            Plugin("b", "b", states=True, takes=("spn",)),
        ),
    )


def test_a_named_file_stands_for_both(files: tuple[Path, Path], tmp_path: Path) -> None:
    files[0].write_text("scaling = false")
    named = tmp_path / "named.toml"
    named.write_text('folder = "/opt/plugins"')
    assert load(str(named)) == Settings(folder="/opt/plugins")
    with pytest.raises(ConfigError, match=r"none\.toml: no such file"):
        load(str(tmp_path / "none.toml"))


def test_only_the_systems_file_names_the_folder(files: tuple[Path, Path]) -> None:
    files[1].write_text('folder = "/tmp"')
    with pytest.raises(ConfigError, match=r"viewer.toml: folder: only .*system.toml may name it"):
        load()


TABLE = '[[plugin]]\nport = "a"\nrun = "a"\n'


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("scalling = true", "scalling: there is no such key; known are clipboard, folder, scaling"),
        ("scaling = 1", "scaling: write true or false"),
        ('folder = "plugins"', "folder: write an absolute path"),
        ("plugin = 1", r"write \[\[plugin\]\]"),
        ("plugin = [1]", r"write \[\[plugin\]\]"),
        ('[[plugin]]\nrun = "a"', "port: it is missing"),
        ('[[plugin]]\nport = "a"', "run: it is missing for a"),
        ('[[plugin]]\nport = "a b"\nrun = "a"', "port: write"),
        ('[[plugin]]\nport = ""\nrun = "a"', "port: write"),
        (TABLE + TABLE, "there are two for a"),
        (TABLE + "trust = true", "trust: there is no such key"),
        (TABLE + 'enabled = "yes"', "enabled: write true or false"),
        (TABLE + "states = 1", "states: write true or false"),
        (TABLE + 'parameters = "-v"', "parameters: write a list"),
        (TABLE + "parameters = [1]", "parameters: write a list"),
        (TABLE + f"parameters = {['-v'] * 65}", "parameters: more than 64"),
        (TABLE + f"parameters = ['{'v' * 1025}']", "at most 1024"),
        (TABLE + 'parameters = ["a\\u0000"]', "no NUL"),
        (TABLE + 'takes = ["stream"]', "takes: known are spn, pin"),
        (TABLE + "consoles = [[]]", "consoles: write a list"),
        *(
            (f'[[plugin]]\nport = "a"\nrun = "{run}"', "has to be a path below the folder")
            for run in ("", "/bin/sh", "../sh", "a/../../sh", "a//b", "./a", "a/", "..", "a\\u0000")
        ),
        ("[[plugin]]\nport = 'a'\nrun = 1", "run: write a text"),
        ("".join(f'[[plugin]]\nport = "p{n}"\nrun = "a"\n' for n in range(64)), "plugin: more than 64"),
        ("= 1", "system.toml: "),
        ("scaling = true\nscaling = true", "system.toml: "),
    ],
)
def test_a_wrong_file_is_named_with_what_to_mend(files: tuple[Path, Path], text: str, word: str) -> None:
    files[0].write_text(text)
    with pytest.raises(ConfigError, match=word) as error:
        load()
    assert str(error.value).startswith(f"{files[0]}: ")


def keys(text: str) -> set[str]:
    return set(re.findall(r"^([a-z]+) = ", text, re.MULTILINE))


def test_the_example_and_the_manual_have_every_key_and_each_default(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "man" / "console-sso-viewer.toml.5").read_text()
    page = page.replace("\\-", "-").replace("\\(dq", '"')
    plugins, _, rest = page.partition(".SH CONSOLES")
    consoles, _, keys_of_others = rest.partition(".SH TRUSTED KEYS")
    tags = re.findall(r"^\.TP\n\.B (.*)$", plugins, re.MULTILINE)
    top = [tag for tag in tags if tag.split()[0] in Settings._fields]
    manual = "\n".join([*top, "[[plugin]]", *(tag for tag in tags if tag not in top)])
    example = (ROOT / "data" / "viewer.toml").read_text()
    shown = re.sub(r"^#(?=[a-z]+ = |\[\[)", "", example, flags=re.MULTILINE)
    for text in (manual, shown, example):
        (tmp_path / "viewer.toml").write_text(text)
        assert load(str(tmp_path / "viewer.toml")) == Settings()
    tables = {"plugins", "tables", "keys", "notes", "bent"}
    assert keys(manual) == keys(shown) == {*Settings._fields, *Plugin._fields} - tables
    for text, known in ((consoles, ConsoleTable._fields), (keys_of_others, TrustedKey._fields)):
        assert set(re.findall(r"^\.TP\n\.B ([a-z]+) = ", text, re.MULTILINE)) == set(known)
    assert set(re.findall(r"^#   ([a-z]+) = ", example, re.MULTILINE)) == set(ConsoleTable._fields)
    (tmp_path / "viewer.toml").write_text(page.partition(".EX\n")[2].partition(".EE")[0])
    assert [plugin.port for plugin in load(str(tmp_path / "viewer.toml")).plugins] == [
        "spice.sso.0",
        "org.example.agent.0",
    ]


# The program


def test_a_program_of_the_folder(folder: Path) -> None:
    (folder / "sub").mkdir(mode=0o755)
    (folder / "sub" / "link").symlink_to("../agent-relay")
    (folder / "absolute").symlink_to(folder / "sub" / "link")
    for run in ("agent-relay", "sub/link", "absolute"):
        assert executable(str(folder), run) == str(folder / "agent-relay")


def test_the_folder_may_be_reached_by_a_link(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    assert executable(str(tmp_path / "link"), "agent-relay") == str(folder / "agent-relay")


@pytest.mark.parametrize("run", ["", "/bin/sh", "../x", "sub/../agent-relay", "sub//x", "./x", "x/", "a\0b"])
def test_a_program_is_named_plainly(folder: Path, run: str) -> None:
    with pytest.raises(ConfigError, match="has to be a path below the folder"):
        executable(str(folder), run)


@pytest.mark.parametrize(
    ("target", "word"),
    [
        ("/bin/sh", "a link out of the folder"),
        ("../outside", "leads out of it"),
        ("sub/../../outside", "leads out of it"),
        ("../plugins/agent-relay", "leads out of it"),  # back in, and yet on a way that others may bend
        ("{out}/back", "a link out of the folder"),
        ("link", "too many links"),
        (".", "is no regular file"),
        ("sub", "is no regular file"),
        ("none", "No such file"),
    ],
)
def test_a_link_stays_in_the_folder(folder: Path, tmp_path: Path, target: str, word: str) -> None:
    (tmp_path / "outside").write_text("#!/bin/sh\n")
    (tmp_path / "outside").chmod(0o755)
    (tmp_path / "back").symlink_to(folder / "agent-relay")
    (folder / "sub").mkdir(mode=0o755)
    (folder / "link").symlink_to(target.format(out=tmp_path))
    with pytest.raises(ConfigError, match=word):
        executable(str(folder), "link")


def test_a_folder_that_is_a_link_out_is_none(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "sh").write_text("")
    (folder / "sub").symlink_to(tmp_path / "bin")
    with pytest.raises(ConfigError, match="a link out of the folder"):
        executable(str(folder), "sub/sh")


def test_what_is_no_program(folder: Path) -> None:
    (folder / "text").write_text("")
    (folder / "text").chmod(0o644)
    os.mkfifo(folder / "fifo", 0o755)
    for run, word in (
        ("text", "not executable"),
        ("fifo", "no regular file"),
        ("agent-relay/x", "Not a dir"),
    ):
        with pytest.raises(ConfigError, match=word):
            executable(str(folder), run)


@pytest.mark.parametrize("place", [".", "sub", "sub/program"])
@pytest.mark.parametrize("mode", [0o775, 0o757, 0o1777])
def test_what_others_may_change_is_refused(folder: Path, place: str, mode: int) -> None:
    (folder / "sub").mkdir(mode=0o755)
    (folder / "sub" / "program").write_text("")
    (folder / "sub" / "program").chmod(0o755)
    assert executable(str(folder), "sub/program")
    (folder / place).chmod(mode)
    with pytest.raises(ConfigError, match="others may change it"):
        executable(str(folder), "sub/program")


@pytest.mark.parametrize("place", [".", "sub", "sub/program"])
def test_what_is_somebody_elses_is_refused(folder: Path, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "sub").mkdir(mode=0o755)
    (folder / "sub" / "program").write_text("")
    (folder / "sub" / "program").chmod(0o755)
    real, other = os.stat, os.path.normpath(folder / place)

    def stat(path: Any, **options: Any) -> os.stat_result:
        found = real(path, **options)
        return os.stat_result([*found[:4], 4711, *found[5:]]) if path == other else found

    assert executable(str(folder), "sub/program")
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", stat)
        with pytest.raises(ConfigError, match="others may change it"):
            executable(str(folder), "sub/program")


@pytest.mark.parametrize("place", ["above", "above/usr", "above/usr/lib"])
def test_the_folders_above_are_checked_too(folder: Path, place: str, tmp_path: Path) -> None:
    """Who may write there may put a folder of his own in the place of ours."""
    (tmp_path / "above" / "usr" / "lib").mkdir(parents=True, mode=0o755)
    deep = folder.rename(tmp_path / "above" / "usr" / "lib" / "plugins")
    assert executable(str(deep), "agent-relay") == f"{deep}/agent-relay"
    (tmp_path / place).chmod(0o775)
    with pytest.raises(ConfigError, match=f"{place}: others may change it"):
        executable(str(deep), "agent-relay")
    (tmp_path / "link").symlink_to(deep)
    with pytest.raises(ConfigError, match=f"{place}: others may change it"):
        executable(str(tmp_path / "link"), "agent-relay")
    (tmp_path / place).chmod(0o1777)
    assert executable(str(deep), "agent-relay"), "as /tmp: nobody can move what is another's"


# What is started

AGENT = Plugin("org.example.agent.0", "agent-relay")


def console(wish: Wish | None = None, **more: str) -> Console:
    return Console("spice", wish=wish or Wish(), **{"host": "vm7.example.org", **more})  # type: ignore[arg-type]


def test_without_wishes_the_configuration_is_what_runs(folder: Path) -> None:
    both = Settings(str(folder), plugins=(DEFAULT, AGENT, Plugin("off", "agent-relay", enabled=False)))
    assert chosen(both, console()) == (
        (
            Start("spice.sso.0", (f"{folder}/spice-client-sso", "--stay", "--status-fd=3"), True),
            Start("org.example.agent.0", (f"{folder}/agent-relay",), False),
        ),
        (),
    )


def test_wishes_are_one_word_each(folder: Path) -> None:
    both = Settings(str(folder), plugins=(DEFAULT, AGENT))
    starts, notes = chosen(both, console(Wish(spn=SPN, pin=PIN)))
    assert starts[0].argv[1:] == ("--stay", "--status-fd=3", f"--asked-spn={SPN}", f"--only-pin={PIN}")
    assert starts[1].argv[1:] == ()
    assert notes == ()


def test_wishes_about_a_port_are_for_its_plug_in(folder: Path) -> None:
    agent = AGENT._replace(takes=("spn",))
    both = Settings(str(folder), plugins=(DEFAULT, agent))
    assert [start.argv[-1] for start in chosen(both, console(Wish(spn=SPN)))[0]] == [f"--asked-spn={SPN}"] * 2
    (sso, relay), notes = chosen(both, console(Wish(spn=SPN, pin=PIN, port=agent.port)))
    assert sso.argv[1:] == DEFAULT.parameters and relay.argv[1:] == (f"--asked-spn={SPN}",)
    assert notes == ("the file names a pin, and no plug-in of this console takes it",)
    with pytest.raises(ConfigError, match=r"the port other\.0, which has no plug-in"):
        chosen(both, console(Wish(port="other.0")))


def test_a_file_narrows_and_never_adds(folder: Path) -> None:
    both = Settings(str(folder), plugins=(DEFAULT, AGENT._replace(enabled=False)))
    assert chosen(both, console(Wish(plug_ins=()))) == ((), ())
    starts, notes = chosen(both, console(Wish(plug_ins=(DEFAULT.port, AGENT.port, "other.0"))))
    assert [start.port for start in starts] == [DEFAULT.port]
    assert notes == ("the file wants a plug-in for other.0, and there is none",)


@pytest.mark.parametrize(
    "told",
    ["--asked-spn=host/own", "--spn=host/own", "--spn host/own", "--sp=host/own", "--sp host/own", "--spn"],
)
def test_a_file_does_not_outvote_the_parameters(folder: Path, told: str) -> None:
    own = Settings(str(folder), plugins=(DEFAULT._replace(parameters=("--stay", *told.split())),))
    with pytest.raises(ConfigError, match=r"the file's spn is not the one that spice\.sso\.0 has"):
        chosen(own, console(Wish(spn=SPN)))
    assert chosen(own, console())[0][0].argv[2:] == tuple(told.split())


@pytest.mark.parametrize("told", [f"--spn={SPN} --only-pin={PIN}", f"--spn {SPN} --only-p {PIN}"])
def test_what_the_parameters_say_already_is_not_said_twice(folder: Path, told: str) -> None:
    same = Settings(str(folder), plugins=(DEFAULT._replace(parameters=tuple(told.split())),))
    starts, notes = chosen(same, console(Wish(spn=SPN, pin=PIN)))
    assert starts[0].argv[1:] == tuple(told.split()) and notes == ()


@pytest.mark.parametrize(
    ("patterns", "more", "runs"),
    [
        (["*.example.org"], {}, True),
        (["*.EXAMPLE.org"], {"host": "VM7.example.ORG"}, True),
        (["*.example.net"], {}, False),
        (["*.example.net", "vm7*.org"], {}, True),
        (["vm7*"], {}, False),  # which is anybody's vm7.evil.org, too
        ([], {}, False),
        (["*.example.org"], {"host": "evil.org"}, False),
        (["/run/libvirt/*"], {"host": "", "unix_path": "/run/libvirt/vm7"}, True),
        (["/run/libvirt/*"], {"host": "", "unix_path": "/RUN/libvirt/vm7"}, False),
        (["/run/libvirt/*"], {"host": "", "unix_path": "/tmp/vm7"}, False),
        # A file that names a host of ours, and the way there
        (["*.example.org"], {"proxy": "http://evil.org:3128"}, False),
        (["*.example.org"], {"proxy": "http://gate.example.org:3128"}, True),
    ],
)
def test_a_plug_in_runs_for_its_consoles_only(
    folder: Path, patterns: list[str], more: dict[str, str], runs: bool
) -> None:
    own = Settings(str(folder), plugins=(DEFAULT._replace(consoles=tuple(patterns)),))
    starts, notes = chosen(own, console(None, **more))
    assert bool(starts) is runs and notes == ()


@pytest.mark.parametrize("stream", ["tcp:evil.org:1", "tls:evil.org:1", "unix:/run/user/0/gnupg/S.gpg-agent"])
def test_a_stream_leads_no_plug_in_elsewhere(folder: Path, stream: str) -> None:
    own = Settings(str(folder), plugins=(DEFAULT._replace(consoles=("*.example.org",)),))
    assert chosen(own, console(Wish(stream=stream))) == ((), ())
    assert chosen(own, console(Wish(stream="tls:vm7.example.org:1")))[0]


def test_a_plug_in_that_cannot_run_is_left_out_with_a_line(folder: Path) -> None:
    (folder / "spice-client-sso").unlink()
    both = Settings(str(folder), plugins=(DEFAULT, AGENT))
    starts, notes = chosen(both, console(Wish(spn=SPN)))
    assert [start.port for start in starts] == [AGENT.port]
    assert notes == (
        f"no plug-in for spice.sso.0: {folder}/spice-client-sso: No such file or directory",
        "the file names a spn, and no plug-in of this console takes it",
    )
    (folder / "agent-relay").chmod(0o775)
    assert chosen(both, console())[0] == ()
    assert len(chosen(Settings(f"{folder}/none"), console())[1]) == 1


def test_a_persons_own_word_is_above_the_files(folder: Path) -> None:
    both = Settings(str(folder), plugins=(DEFAULT, AGENT))
    starts, _ = chosen(both, console(Wish(spn="host/web-page")), SPN)
    assert starts[0].argv[1:] == (*DEFAULT.parameters, f"--spn={SPN}")
    assert not any("web-page" in word for start in starts for word in start.argv)
