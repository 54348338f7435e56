"""The door of plug-ins: files as portals write them, signatures, and what a yes is worth the next time."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import signed_files
from beds import Certificates
from beds_door import AGENT, ALICE, CA, PORT, SPN, Bed, make_door, ovirt, pve

from sso.console.authority import fingerprints
from sso.console.entry import ShownAt
from sso.viewer.sign_on import identity

NOBODY_VOUCHES = "no single sign-on: nobody vouches that this console shows that guest"
NOT_PROVEN = "no single sign-on: nothing that counts proves which console this is: sign in by hand"


__all__ = ["make_door"]

File = Callable[..., str]
FILES: dict[str, tuple[File, str, str]] = {
    "proxmox": (pve, '"node1", "10.0.0.11"', "OU=PVE Cluster Node,O=Proxmox Virtual Environment,CN=*"),
    "ovirt": (ovirt, '"hypervisor3.example.org"', "O=example.org,CN=*.example.org"),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_second_file_asks_nothing(bed: Bed, kind: str) -> None:
    """Its ports, its password and its one-time label are others, its console and its guest are not."""
    file, places, subject = FILES[kind]
    bed.configure(bed.console(places, subject=subject))
    first = bed.open(file()).wait()
    (question,) = first.questions
    assert question.remembered and first.started == {}
    rows = dict(question.rows)
    assert (rows["Service of the guest"], rows["You sign in as"]) == (SPN, ALICE)
    assert rows["Authenticated by"] == "TLS, by the certificate authorities of this machine"
    assert "desktop" not in str(question) and "VM 100" not in str(question)
    first.answer(True)
    assert first.started[PORT] == ("--stay", f"--asked-spn={SPN}", "--named=file", f"--for={ALICE}")
    again = bed.open(pve("692b6ccc") if kind == "proxmox" else ovirt(5914)).wait()
    assert again.questions == [] and again.started == first.started
    # Another guest, another machine of that node, another user: each is a question of its own.
    other = "host/vm101.example.org"
    assert bed.open(pve(spn=other) if kind == "proxmox" else ovirt(spn=other)).wait().questions
    if kind == "proxmox":
        assert bed.open(pve(machine=101)).wait().questions
    bed.principal("bob@EXAMPLE.ORG")
    assert bed.open(file()).wait().questions


@pytest.mark.parametrize("kind", FILES)
def test_a_table_that_names_both_asks_nothing_at_all(bed: Bed, kind: str) -> None:
    file, places, subject = FILES[kind]
    bed.configure(bed.console(places, '"host/vm*.example.org"', subject))
    window = bed.open(file())
    assert window.started == {PORT: ("--stay", f"--asked-spn={SPN}", "--named=file")}
    assert not (bed.folder / "asked").exists(), "not even as whom"
    assert window.intent.reach.console.ca == bed._ca.read_text(), "not the file's own"


@pytest.mark.parametrize("kind", FILES)
def test_a_files_own_ca_proves_nothing(bed: Bed, kind: str) -> None:
    """Nor does a subject that no table allows, even where a table names both."""
    file, places, _ = FILES[kind]
    for table in (
        "",
        bed.console('"*"'),
        bed.console(places, '"host/vm*.example.org"', subject="CN=other"),
        bed.console('"elsewhere.example.org"', '"host/vm*.example.org"'),
    ):
        bed.configure(table)
        window = bed.open(file())
        assert (window.started, window.questions, window.shown) == ({}, [], [NOT_PROVEN])


def test_a_name_that_only_begins_as_a_ticket_is_no_node(bed: Bed) -> None:
    """Some resolvers find it, the system's CAs know its certificate, and none of a table's checks it."""
    _, places, subject = FILES["proxmox"]
    bed.configure(bed.console(places, f'"{SPN}"', subject))
    host = "pvespiceproxy:692b5f0a:100:node1::x.evil.org"
    window = bed.open(f"[virt-viewer]\ntype=spice\nhost={host}\ntls-port=443\n[x-sso]\nspn={SPN}\n").wait()
    assert window.started == {}
    assert dict(window.questions[0].rows)["Console"] == f"[{host}]:443"


@pytest.mark.parametrize(
    ("places", "host"),
    [("node*", "node1.evil.org"), ("10.0.*.*", "10.0.evil.org"), ("node[0-9]*", "node1.a.b")],
)
def test_an_open_pattern_of_places_names_no_host_of_somebody_elses(bed: Bed, places: str, host: str) -> None:
    """Whose certificate is as good as any: the system's CAs know it."""
    bed.configure(bed.console(f'"{places}"', f'"{SPN}"').replace("ca = ", "# "))
    window = bed.open(f"[virt-viewer]\ntype=spice\nhost={host}\ntls-port=443\n[x-sso]\nspn={SPN}\n").wait()
    assert window.started == {} and window.questions


def plain(host: str = "lab.example.org", spn: str = SPN) -> str:
    return f"[virt-viewer]\ntype=spice\nhost={host}\nport=5900\n[x-sso]\nspn={spn}\n"


def test_a_yes_to_plain_tcp_needs_a_local_word_and_is_not_remembered(bed: Bed) -> None:
    assert bed.open(plain()).shown == [NOT_PROVEN]
    bed.configure(bed.console('"*"', plain=True))
    assert bed.open(plain()).shown == [NOT_PROVEN], "* names nothing"
    bed.configure(bed.console('"lab.example.org"', plain=True))
    window = bed.open(plain()).wait()
    assert not window.questions[0].remembered
    window.answer(True)
    assert PORT in window.started and not Path(bed.agreed.path).exists()
    # The port is opened anew: the same connection. The console is left: another one.
    window.started.clear()
    window.opened(PORT)
    assert window.started and len(window.questions) == 1
    window.door.left()
    window.started.clear()
    window.questions.clear()
    window.opened(PORT)
    assert window.wait().questions and not window.started
    bed.configure(bed.console('"lab.example.org"', f'"{SPN}"', plain=True))
    assert bed.open(plain()).started


def test_a_no_stands_until_the_user_asks_again(bed: Bed) -> None:
    bed.configure(bed.console('"lab.example.org"', plain=True))
    window = bed.open(plain()).wait()
    window.answer(False)
    assert window.shown == ["no single sign-on: you said no: sign in by hand"] and not window.started
    window.opened(PORT)
    assert len(window.questions) == 1 and len(window.shown) == 2
    window.door.again()
    window.shown.clear()
    window.questions.clear()
    window.opened(PORT)
    assert window.wait().questions


def test_an_answer_after_the_console_was_left_is_none(bed: Bed) -> None:
    bed.configure(bed.console('"lab.example.org"', plain=True))
    window = bed.open(plain()).wait()
    window.door.left()
    window.answer(True)
    assert not window.started and not window.shown


def test_without_a_window_only_a_remembered_yes_counts(bed: Bed) -> None:
    bed.configure(bed.console('"hypervisor3.example.org"', subject="O=example.org,CN=*"))
    without = bed.open(ovirt(), window=False).wait()
    assert without.shown == [f"{NOBODY_VOUCHES}, and there is no window to ask in: sign in by hand"]
    bed.open(ovirt()).wait().answer(True)
    assert bed.open(ovirt(), window=False).wait().started


@pytest.mark.parametrize(
    ("says", "shown", "states"),
    [
        ("failed 6 there is no Kerberos ticket", [], ["failed 6 there is no Kerberos ticket"]),
        ("", ["no single sign-on: the plug-in does not say who would sign in: sign in by hand"], []),
        ("preview maybe alice@EXAMPLE.ORG", None, []),
        ("preview policy", None, []),
    ],
)
def test_who_would_sign_in_has_to_be_known(
    bed: Bed, says: str, shown: list[str] | None, states: list[str]
) -> None:
    bed.configure(bed.console('"lab.example.org"', plain=True))
    bed.principal(ALICE, says)
    window = bed.open(plain()).wait()
    while window.door._asking:
        window._loop.turn()
    assert [event.text for event in window.said] == states
    assert window.questions == [] and window.started == {}
    assert window.shown == (
        shown
        if shown is not None
        else ["no single sign-on: the plug-in does not say who would sign in: sign in by hand"]
    )


@pytest.mark.parametrize(
    ("address", "spn", "starts"),
    [
        ("spice://lab.example.org:5900", SPN, True),
        ("spice://lab.example.org:5900", "", False),
        ("spice://lab.example.org?tls-port=5901", SPN, True),
        ("vnc://lab.example.org:5900", SPN, True),
    ],
)
def test_only_an_address_and_a_service_typed_together_vouch(
    bed: Bed, address: str, spn: str, starts: bool
) -> None:
    window = bed.open(address, *(["--spn", spn] if spn else []))
    assert window.started == ({PORT: ("--stay", f"--spn={SPN}")} if starts else {})
    assert bool(window.shown) is not starts


def test_an_address_typed_with_one_service_vouches_for_no_other(bed: Bed) -> None:
    """Such as that of a plug-in that is not told what was typed."""
    bed.configure(parameters=f'"--spn", "{SPN}"', more="takes = []")
    window = bed.open("spice://lab.example.org:5900", "--spn", "host/vm101.example.org")
    assert (window.started, window.shown) == ({}, [NOT_PROVEN])
    assert bed.open("spice://lab.example.org:5900", "--spn", SPN).started


def test_with_a_file_a_typed_service_vouches_for_the_service_only(bed: Bed) -> None:
    bed.configure(bed.console('"hypervisor3.example.org"', subject="O=example.org,CN=*"))
    window = bed.open(ovirt(spn="host/web-page.example.org"), "--spn", SPN).wait()
    assert dict(window.questions[0].rows)["Service of the guest"] == SPN
    window.answer(True)
    assert window.started[PORT] == ("--stay", f"--spn={SPN}", f"--for={ALICE}")


def test_a_missing_service_never_widens(bed: Bed) -> None:
    """Neither the parameters' own --spn nor a table for more guests fills the gap; one name in full does."""
    nameless = ovirt().partition("[x-sso]")[0]
    nobody = "no single sign-on: nothing names this guest's service: give it with --spn, or in a [[console]]"
    table = bed.console('"hypervisor3.example.org"', '"host/*.example.org"', "O=example.org,CN=*")
    for tables in ((), (table,)):
        bed.configure(*tables)
        assert bed.open(nameless).shown[0].startswith(nobody)
    bed.configure(
        bed.console('"hypervisor3.example.org"', "", "O=example.org,CN=*"),
        parameters=f'"--spn", "{SPN}"',
    )
    window = bed.open(nameless).wait()
    assert window.questions and window._starts[PORT].argv[1:] == ("--spn", SPN, "--named=file")
    bed.configure(table.replace("host/*.example.org", SPN))
    assert bed.open(nameless).started == {PORT: ("--stay", f"--asked-spn={SPN}", "--named=file")}


def test_the_ssh_agent_runs_where_it_is_named_and_the_console_is_proved(bed: Bed) -> None:
    for agent, tables, starts, why in (
        ("*", bed.console('"hypervisor3.example.org"', subject="O=example.org,CN=*"), False, "does not name"),
        ("*.example.org", "", False, "nothing that counts"),
        ("*.example.net", bed.console('"hyp*.example.org"', subject="O=example.org,CN=*"), False, ""),
        ("*.example.org", bed.console('"hyp*.example.org"', subject="O=example.org,CN=*"), True, ""),
    ):
        bed.configure(tables, agent=agent)
        window = bed.open(ovirt())
        window.shown.clear()
        window.opened(AGENT)
        assert (AGENT in window.started) is starts
        assert [why in line for line in window.shown] == ([True] if why else [])
        assert all(line.startswith(f"no plug-in at {AGENT}: ") for line in window.shown)
    bed.configure(agent="*")
    window = bed.open("spice://lab.example.org:5900", "--spn", SPN)
    window.opened(AGENT)
    assert AGENT in window.started, "the address was typed with the service"


# Signatures


def trusting(*names: str) -> str:
    """Tables [[trust]] of the site and the portal."""
    keys = {"site": signed_files.site(), "portal": signed_files.portal()}
    return "\n".join(
        f'[[trust]]\nname = "{name}"\nkey = "{keys[name].text}"\nsigns = {json.dumps(keys[name].signs)}\n'
        f"consoles = {json.dumps(keys[name].consoles)}\nservices = {json.dumps(keys[name].services)}"
        for name in names
    )


SIGNED_SPN = signed_files.SPN
AS_SIGNED = ("--stay", f"--asked-spn={SIGNED_SPN}", "--named=signed")


def test_entry_and_opening_ask_nobody(bed: Bed) -> None:
    bed.configure(trusting("site"))
    window = bed.open(signed_files.signed())
    assert window.started == {PORT: (*AS_SIGNED, f"--for={ALICE}")}
    assert window.notes == ()
    # The opening has ended long ago when that window comes back.
    window.door.left()
    window.started.clear()
    window.opened(PORT)
    assert PORT in window.started


def test_an_entry_alone_is_a_question_once_for_that_guest(bed: Bed) -> None:
    bed.configure(trusting("site"))
    window = bed.open(signed_files.entered()).wait()
    window.answer(True)
    assert window.started == {PORT: (*AS_SIGNED, f"--for={ALICE}")}
    other = signed_files.FILE.replace(b"7f3kq9.", b"abc123.").replace(b"5901", b"5977")
    assert bed.open(signed_files.entered(other)).wait().started == window.started
    assert bed.open(other).wait().questions, "without the entry nothing says that it is that guest"


def test_an_opening_alone_is_a_question_to_whom_it_is_for(bed: Bed) -> None:
    bed.configure(trusting("portal"))
    assert bed.open(signed_files.opened(signed_files.FILE)).wait().questions
    bed.principal("mallory@EXAMPLE.ORG")
    window = bed.open(signed_files.opened(signed_files.FILE)).wait()
    assert window.questions == []
    assert window.shown == [f"no single sign-on: this console was opened for {ALICE}: sign in by hand"]


def test_signatures_of_others_or_of_another_file_are_nothing(bed: Bed) -> None:
    assert bed.open(signed_files.signed()).wait().questions, "no key is trusted"
    bed.configure(trusting("site"))
    changed = signed_files.signed().replace(b"7f3kq9.relay", b"7f3kq9.evil")
    window = bed.open(changed).wait()
    assert window.started == {} and window.questions
    assert "--named=file" in window._starts[PORT].argv
    assert any("counts as unsigned" in note for note in window.notes)


def test_no_signature_proves_the_connection(bed: Bed) -> None:
    plain = signed_files.FILE.replace(b"tls-port", b"port").replace(b"https:", b"http:")
    bed.configure(trusting("site"))
    assert bed.open(signed_files.opened(signed_files.entered(plain))).shown == [NOT_PROVEN]


def test_a_signed_ca_proves_the_console(bed: Bed, certificates: Certificates) -> None:
    """Which the file's own, unsigned, does not."""
    pem = certificates.ca.read_text()
    subject = "CN=node1.example.org"
    ca = pem.replace("\n", "\\n")
    file = (
        f"[virt-viewer]\ntype=spice\nhost=node1.example.org\ntls-port=5901\nca={ca}\n"
        f"host-subject={subject}\n[x-sso]\nspn={SIGNED_SPN}\n"
    ).encode()
    shown = (ShownAt(ca=fingerprints(pem)[0], subject=subject),)
    bed.configure(trusting("site"))
    assert bed.open(file).shown == [NOT_PROVEN]
    assert bed.open(signed_files.opened(signed_files.entered(file, consoles=shown))).started


@pytest.mark.parametrize(
    "unchecked",
    [
        "type=spice\nport=5999\nproxy=https://gate.example.org",  # no TLS but the proxy's own
        "type=vnc\nport=5999\nproxy=https://gate.example.org",  # gtk-vnc checks nothing, and dials no proxy
    ],
)
def test_a_signed_ca_counts_only_where_it_checks_the_connection(
    bed: Bed, certificates: Certificates, unchecked: str
) -> None:
    """Otherwise a site's gate could lead to any port, with the yes that was for the entry's guest."""
    pem, subject = certificates.ca.read_text(), "CN=node1.example.org"
    shown = (ShownAt(ca=fingerprints(pem)[0], subject=subject, proxy="gate.example.org"),)
    ca = pem.replace("\n", "\\n")
    more = f"ca={ca}\nhost-subject={subject}\n[x-sso]\nspn={SIGNED_SPN}\nstream=tls:gate.example.org:1\n"
    honest = (
        "[virt-viewer]\ntype=spice\nhost=node1.example.org\ntls-port=5901\n"
        f"proxy=https://gate.example.org\n{more}"
    )
    consoles = (*shown, ShownAt(relay="gate.example.org"))
    bed.configure(trusting("site"), bed.console('"evil.org", "gate.example.org"', plain=True))
    bed.open(signed_files.entered(honest.encode(), consoles=consoles)).wait().answer(True)
    assert bed.open(signed_files.entered(honest.encode(), consoles=consoles)).wait().started
    file = f"[virt-viewer]\nhost=evil.org\n{unchecked}\n{more}".encode()
    window = bed.open(signed_files.entered(file, consoles=consoles)).wait()
    assert window.started == {}
    assert window.intent.signatures.entry is None, window.notes


def test_a_streams_own_ca_is_not_signed_by_a_tables(bed: Bed, certificates: Certificates) -> None:
    """The table has the CA that the entry names; the file brings another, which checks the stream."""
    pem, subject = bed._ca.read_text(), "CN=node1.example.org"
    consoles = (ShownAt(ca=fingerprints(pem)[0], subject=subject), ShownAt(relay="relay.example.org"))
    file = (
        "[virt-viewer]\ntype=spice\nhost=node1.example.org\ntls-port=5901\nca={ca}\n"
        f"host-subject={subject}\n[x-sso]\nspn={SIGNED_SPN}\nstream=tls:relay.example.org:6000\n"
    )
    bed.configure(trusting("site"), bed.console('"node1.example.org"', subject="CN=*"))
    for ca, starts in ((pem.replace("\n", "\\n"), True), (CA, False)):
        octets = signed_files.entered(file.format(ca=ca).encode(), consoles=consoles)
        window = bed.open(signed_files.opened(octets))
        assert window.intent.signatures.entry is not None, window.notes
        assert bool(window.started) is starts
        assert window.shown == ([] if starts else [NOT_PROVEN])


# What a plug-in's arguments say


@pytest.mark.parametrize(
    ("words", "who"),
    [
        ((), ()),
        (("--stay", "--spn=host/a"), ("host/a",)),
        (("--spn", "host/a", "--asked-spn=host/a"), ("host/a",)),
        (("--tls-name", "a", "--tls-pin", "sha256:00"), ("tls/a",)),
        (("--tls-pin=sha256:00",), ("sha256:00",)),
        (("--spn=host/a", "--tls-name=b"), ("host/a", "tls/b")),
        (("--spn",), ()),
        (("--spn=",), ()),
    ],
)
def test_which_guest_a_plug_in_accepts(words: tuple[str, ...], who: tuple[str, ...]) -> None:
    assert identity(("/x/client", *words)) == who
