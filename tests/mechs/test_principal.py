"""Names as Kerberos writes them: libkrb5 judges each text, and an enterprise name is one component."""

import ctypes
from typing import Any

import pytest
from flows import DELEG, SPN, Kerberos
from gss_halves import joined
from hypothesis import given
from hypothesis import strategies as st
from sso_mechs import ccache
from sso_mechs.ccache import Ticket
from sso_mechs.krb5_types import Krb5Principal
from sso_mechs.krb_cred import Acceptor, Initiator
from sso_mechs.krb_cred_codec import decode, encode
from sso_mechs.principal import COMPONENTS_MAX, Principal

ENTERPRISE = r"alice\@corp.example@TEST.EXAMPLE"
NT_ENTERPRISE = 10
TGT = "krbtgt/TEST.EXAMPLE@TEST.EXAMPLE"

words = st.text(r"ab/@\\.- яé", min_size=1, max_size=8)
realms = st.text(r"AB/\\.-", min_size=1, max_size=8)


def by_libkrb5(text: str) -> tuple[list[str], str, str]:
    """Components, realm and text of a name, as libkrb5 parses and writes it."""
    krb5: Any = ctypes.CDLL("libkrb5.so.3")
    context, name, said = ctypes.c_void_p(), ctypes.POINTER(Krb5Principal)(), ctypes.c_void_p()
    assert krb5.krb5_init_context(ctypes.byref(context)) == 0
    assert krb5.krb5_parse_name(context, text.encode(), ctypes.byref(name)) == 0, text
    found = name.contents
    parts = [found.realm, *(found.components[index] for index in range(found.count))]
    realm, *components = (ctypes.string_at(part.data, part.length).decode() for part in parts)
    assert krb5.krb5_unparse_name(context, name, ctypes.byref(said)) == 0
    written = ctypes.string_at(said.value or 0).decode()
    krb5.krb5_free_string(context, said)
    krb5.krb5_free_principal(context, name)
    krb5.krb5_free_context(context)
    return components, realm, written


@given(st.lists(words, min_size=1, max_size=4), realms)
def test_libkrb5_writes_and_reads_the_same(components: list[str], realm: str) -> None:
    name = Principal.of(components, realm)
    assert (name.components, name.realm) == (components, realm)
    assert by_libkrb5(name) == (components, realm, str(name))


@pytest.mark.parametrize(
    ("components", "realm"),
    [
        ([], "R"),
        ([""], "R"),
        (["a", ""], "R"),
        (["a"], ""),
        (["a\n"], "R"),
        (["a\0b"], "R"),
        (["a"], "R@S"),
        (["x"] * (COMPONENTS_MAX + 1), "R"),
    ],
)
def test_what_no_log_and_no_record_could_show(components: list[str], realm: str) -> None:
    assert not Principal.of(components, realm).is_usable
    assert Principal.of(["a"] * COMPONENTS_MAX, "R").is_usable


@pytest.mark.parametrize(
    "name", [r"krbtgt\/TEST.EXAMPLE@TEST.EXAMPLE", "krbtgt/A/A@A", "krbtgt/A@B", "krbtgt@A", TGT]
)
def test_what_is_a_realms_own_ticket_granting_service(name: str) -> None:
    assert Principal(name).is_own_tgt is (name == TGT)


@pytest.fixture(scope="module")
def enterprise(kerberos: Kerberos) -> str:
    """The cache of a principal whose only component contains an @."""
    kerberos.realm.principal(r"alice\@corp.example", "of-the-enterprise")
    kerberos.realm.kinit(r"alice\@corp.example", "-f", ccache=kerberos.realm.folder / "enterprise")
    return f"FILE:{kerberos.realm.folder}/enterprise"


def test_an_enterprise_name_signs_in_and_its_ticket_goes_along(kerberos: Kerberos, enterprise: str) -> None:
    client, guest = joined(kerberos, keytab="deleg", spn=DELEG, ccache=enterprise)
    assert client.own_name == guest.peer == ENTERPRISE
    assert guest.credential is not None and guest.credential.principal == ENTERPRISE
    assert {ticket.client for ticket in ccache.read(guest.credential.secret or b"")} == {ENTERPRISE}


def test_an_enterprise_name_is_handed_over_as_a_krb_cred(enterprise: str) -> None:
    blob = Initiator(spn=SPN, cache=enterprise).step(b"")
    half = Acceptor(principal=ENTERPRISE)
    half.step(blob)
    assert half.credential is not None
    (ticket,) = ccache.read(half.credential.secret or b"")
    assert Principal(ticket.client).components == ["alice@corp.example"]


def test_the_name_type_is_handed_on(kerberos: Kerberos) -> None:
    path = kerberos.caches["alice"]
    true = next(ticket for ticket in ccache.read(path.read_bytes()) if ticket.server == TGT)
    given: Ticket = true._replace(client=Principal(ENTERPRISE, NT_ENTERPRISE))
    for found in (decode(bytes(encode(given))), ccache.read(ccache.write(given))[0]):
        assert found == given
        assert (Principal(found.client).type, Principal(found.server).type) == (NT_ENTERPRISE, 2)
