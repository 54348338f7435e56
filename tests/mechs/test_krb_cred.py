"""KRB-CRED, judged by libkrb5: it reads ours, we read its own, field by field; and malformed ones."""

import ctypes
import ctypes.util
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flows import ALICE, SPN, Flow, Kerberos
from hypothesis import given
from hypothesis import strategies as st
from pyasn1.codec.der import decoder, encoder
from sso_mechs import ccache
from sso_mechs.ccache import Ticket
from sso_mechs.der import CREDENTIAL_MAX
from sso_mechs.krb5_types import Krb5Data
from sso_mechs.krb_cred import Acceptor, Initiator
from sso_mechs.krb_cred_asn1 import EncKrbCredPart, KrbCred
from sso_mechs.krb_cred_codec import decode, encode

from sso.errors import MechanismError

TGT = "krbtgt/TEST.EXAMPLE@TEST.EXAMPLE"
AHEAD = int(time.time()) + 24 * 3600


class Library:
    """libkrb5 with a context, an auth context without a key, and what has to be freed."""

    def __init__(self) -> None:
        self.krb5: Any = ctypes.CDLL(ctypes.util.find_library("krb5") or "libkrb5.so.3")
        self.krb5.krb5_get_error_message.restype = ctypes.c_char_p
        self.context, self.auth = ctypes.c_void_p(), ctypes.c_void_p()
        self.call("krb5_init_context", ctypes.byref(self.context), context=False)
        self.call("krb5_auth_con_init", ctypes.byref(self.auth))
        self.call("krb5_auth_con_setflags", self.auth, 0)

    def call(self, name: str, *arguments: Any, context: bool = True) -> None:
        first = (self.context,) if context else ()
        code = getattr(self.krb5, name)(*first, *arguments)
        if code:
            raise OSError(code, name)

    @contextmanager
    def cache(self, name: str) -> Iterator[ctypes.c_void_p]:
        store = ctypes.c_void_p()
        self.call("krb5_cc_resolve", name.encode(), ctypes.byref(store))
        yield store
        self.call("krb5_cc_close", store)

    def read(self, blob: bytes, path: Path) -> list[Ticket]:
        """krb5_rd_cred, and what it found written to a cache of the library's own and read back."""
        room = ctypes.create_string_buffer(blob, len(blob))
        data = Krb5Data(0, len(blob), ctypes.addressof(room))
        found = ctypes.POINTER(ctypes.c_void_p)()
        self.call("krb5_rd_cred", self.auth, ctypes.byref(data), ctypes.byref(found), None)
        with self.cache(f"FILE:{path}") as store:
            client = ctypes.cast(found[0], ctypes.POINTER(_CredsHead)).contents.client
            self.call("krb5_cc_initialize", store, ctypes.c_void_p(client))
            self.call("krb5_cc_store_cred", store, ctypes.c_void_p(found[0]))
        self.krb5.krb5_free_tgt_creds(self.context, found)
        return ccache.read(path.read_bytes())

    def write(self, cache: str) -> bytes:
        """krb5_mk_1cred of the TGT of a cache, which is its first entry that is no configuration."""
        creds, cursor = (ctypes.c_char * 1024)(), ctypes.c_void_p()
        out = ctypes.POINTER(Krb5Data)()
        with self.cache(cache) as store:
            self.call("krb5_cc_start_seq_get", store, ctypes.byref(cursor))
            while True:
                self.call("krb5_cc_next_cred", store, ctypes.byref(cursor), creds)
                server = ctypes.c_void_p(_CredsHead.from_buffer(creds).server)
                if not self.krb5.krb5_is_config_principal(self.context, server):
                    break
            self.call("krb5_cc_end_seq_get", store, ctypes.byref(cursor))
        self.call("krb5_mk_1cred", self.auth, creds, ctypes.byref(out), None)
        return ctypes.string_at(out.contents.data, out.contents.length)


class _CredsHead(ctypes.Structure):
    """The first fields of krb5_creds."""

    _fields_ = (("magic", ctypes.c_int), ("client", ctypes.c_void_p), ("server", ctypes.c_void_p))


@pytest.fixture(scope="module")
def tgt(kerberos: Kerberos) -> Ticket:
    return next(t for t in ccache.read(kerberos.caches["alice"].read_bytes()) if t.server == TGT)


def test_libkrb5_reads_ours(kerberos: Kerberos, tgt: Ticket, tmp_path: Path) -> None:
    assert Library().read(bytes(encode(tgt)), tmp_path / "cc") == [tgt]


def test_we_read_libkrb5s(kerberos: Kerberos, tgt: Ticket) -> None:
    assert decode(Library().write(kerberos.cache())) == tgt


@pytest.mark.parametrize("name", ["müller", "Łukasz", "山田"])
def test_names_of_any_script_are_the_same_to_libkrb5(tgt: Ticket, name: str, tmp_path: Path) -> None:
    ticket = tgt._replace(client=f"{name}@TEST.EXAMPLE")
    (tmp_path / "cc").write_bytes(ccache.write(ticket))
    assert decode(Library().write(f"FILE:{tmp_path / 'cc'}")) == ticket
    assert Library().read(bytes(encode(ticket)), tmp_path / "again") == [ticket]


def test_libkrb5_reads_a_forwarded_copy_as_we_do(kerberos: Kerberos, tgt: Ticket, tmp_path: Path) -> None:
    blob = bytes(Initiator(spn=SPN, cache=kerberos.cache()).step(b""))
    ticket = decode(blob)
    assert Library().read(blob, tmp_path / "cc") == [ticket]
    assert ticket.client == ALICE
    assert ticket.key != tgt.key  # a copy of its own
    assert ticket.flags & 0x20000000  # forwarded


def test_a_ticket_that_cannot_be_forwarded_goes_itself(kerberos: Kerberos) -> None:
    ticket = decode(bytes(Initiator(spn=SPN, cache=kerberos.cache("alice-here")).step(b"")))
    own = next(t for t in ccache.read(kerberos.caches["alice-here"].read_bytes()) if t.server == TGT)
    assert ticket == own


def test_without_a_cache_there_is_no_ticket(kerberos: Kerberos, tmp_path: Path) -> None:
    with pytest.raises(MechanismError) as caught:
        Initiator(spn=SPN, cache=f"FILE:{tmp_path / 'none'}").step(b"")
    assert caught.value.cause == "no-ticket"


# What the guest takes


def test_the_guest_takes_the_initiators_own_tgt(tgt: Ticket) -> None:
    half = Acceptor(principal=ALICE)
    assert half.step(encode(tgt)) == b""
    assert half.credential is not None
    assert half.credential.expires == tgt.end_time
    assert ccache.read(half.credential.secret or b"") == [tgt]


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"client": "bob@TEST.EXAMPLE"}, "kerberos"),
        ({"client": "alice@OTHER.EXAMPLE"}, "kerberos"),
        ({"client": "alice/admin@TEST.EXAMPLE"}, "kerberos"),
        ({"client": "ALICE@TEST.EXAMPLE"}, "kerberos"),
        ({"server": "host/guest.test.example@TEST.EXAMPLE"}, "kerberos"),
        ({"server": "krbtgt/OTHER.EXAMPLE@TEST.EXAMPLE"}, "kerberos"),
        ({"server": "krbtgt/TEST.EXAMPLE@OTHER.EXAMPLE"}, "kerberos"),
        ({"key_type": 23}, "weak-key"),
        ({"key_type": 0}, "weak-key"),
        ({"key": bytearray(16)}, "kerberos"),
        ({"key": bytearray(33)}, "kerberos"),
        ({"key": bytearray()}, "kerberos"),
        ({"key_type": 17}, "kerberos"),
        ({"end_time": 1}, "ticket-expired"),
        ({"start_time": AHEAD}, "clock-skew"),
        ({"start_time": 0, "auth_time": AHEAD}, "clock-skew"),
    ],
)
def test_what_the_guest_refuses(tgt: Ticket, change: dict[str, Any], cause: str) -> None:
    half = Acceptor(principal=ALICE)
    with pytest.raises(MechanismError) as caught:
        half.step(encode(tgt._replace(**change)))
    assert caught.value.cause == cause
    assert half.credential is None


@pytest.mark.proves("S135")
def test_a_made_up_or_foreign_krb_cred_signs_in_nobody(
    ticket_flow: Flow, kerberos: Kerberos, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client authenticates as mallory and hands over a ticket that says alice: true or invented."""
    true = next(t for t in ccache.read(kerberos.caches["alice"].read_bytes()) if t.server == TGT)
    for ticket in (true, true._replace(key=bytearray(32), ticket=true.ticket[:-40] + bytes(40))):
        monkeypatch.setattr(Initiator, "step", lambda self, token, ticket=ticket: encode(ticket))
        pair = ticket_flow.pair(ccache=kerberos.cache("mallory")).run()
        assert (pair.exit, pair.judge.claims) == (8, [])
        assert pair.log_ids == ["authenticated", "credential-refused"]


# Malformed


def changed(ticket: Ticket, change: Callable[[Any, Any], None]) -> bytes:
    message, _ = decoder.decode(bytes(encode(ticket)), asn1Spec=KrbCred())
    part, _ = decoder.decode(bytes(message["enc-part"]["cipher"]), asn1Spec=EncKrbCredPart())
    change(message, part)
    message["enc-part"]["cipher"] = encoder.encode(part)
    return bytes(encoder.encode(message))


def field(place: str, name: str, value: Any) -> Callable[[Any, Any], None]:
    def change(message: Any, part: Any) -> None:
        target = {"message": message, "enc": message["enc-part"], "info": part["ticket-info"][0]}[place]
        target[name] = value

    return change


def another_ticket(message: Any, part: Any) -> None:
    message["tickets"].append(message["tickets"][0])


def another_info(message: Any, part: Any) -> None:
    part["ticket-info"].append(part["ticket-info"][0])


def no_ticket(message: Any, part: Any) -> None:
    message["tickets"].clear()


MALFORMED: dict[str, Callable[[Any, Any], None]] = {
    "pvno": field("message", "pvno", 4),
    "msg-type": field("message", "msg-type", 21),
    "etype": field("enc", "etype", 18),
    "two tickets": another_ticket,
    "two infos": another_info,
    "no ticket": no_ticket,
    "realm with @": field("info", "prealm", "A@B"),
    "empty realm": field("info", "prealm", ""),
    "key type without an end": lambda message, part: part["ticket-info"][0]["key"].setComponentByName(
        "keytype", 1 << 60_000
    ),
    "negative key type": lambda message, part: part["ticket-info"][0]["key"].setComponentByName(
        "keytype", -18
    ),
    "time before the epoch": field("info", "starttime", "19600101000000Z"),
    "time past 32 bits": field("info", "endtime", "22000101000000Z"),
    "time that is none": field("info", "authtime", "20301301000000Z"),
}


def many(place: str) -> Callable[[Any, Any], None]:
    """31,000 components of a name, addresses, tickets or infos, each as short as it can be."""

    def change(message: Any, part: Any) -> None:
        info = part["ticket-info"][0]
        target, one = {
            "pname": (info["pname"]["name-string"], ""),
            "sname": (message["tickets"][0]["sname"]["name-string"], ""),
            "caddr": (info["caddr"], None),
        }[place]
        if one is None:
            one = target.componentType.clone()
            one["addr-type"], one["address"] = 2, b""
        for _ in range(31_000 if place != "caddr" else 5_000):
            target.append(one)

    return change


@pytest.mark.parametrize("place", ["pname", "sname", "caddr"])
def test_a_list_without_an_end_never_reaches_the_decoder(
    tgt: Ticket, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would make an object of each: 0.6 s for 62 KiB of names. Up to the cap little is made."""
    blob = changed(tgt, many(place))
    assert 50_000 < len(blob) <= CREDENTIAL_MAX
    made, decode_one = list[bytes](), decoder.decode

    def watched(octets: bytes, **rest: Any) -> Any:
        made.append(octets)
        return decode_one(octets, **rest)

    monkeypatch.setattr(decoder, "decode", watched)
    with pytest.raises(MechanismError) as caught:
        decode(blob)
    assert caught.value.cause == "kerberos"
    assert len(made) <= 1, "the outer part alone, where the list is in the inner one"
    assert not any(
        len(octets) > 1000 and octets.count(b"\x1b\0") > 1000 for octets in made if place == "sname"
    )


@pytest.mark.parametrize(("count", "good"), [(1, True), (16, True), (17, False)])
def test_a_name_has_one_to_sixteen_components(tgt: Ticket, count: int, good: bool) -> None:
    def change(message: Any, part: Any) -> None:
        for names in (part["ticket-info"][0]["pname"], message["tickets"][0]["sname"]):
            names["name-string"].clear()
            names["name-string"].extend(["a"] * count)

    blob = changed(tgt, change)
    if good:
        assert decode(blob).client == "/".join(["a"] * count) + "@TEST.EXAMPLE"
        return
    with pytest.raises(MechanismError):
        decode(blob)


@pytest.mark.parametrize("what", MALFORMED)
def test_malformed(tgt: Ticket, what: str) -> None:
    blob = changed(tgt, MALFORMED[what])
    for act in (decode, Acceptor(principal=ALICE).step):
        with pytest.raises(MechanismError) as caught:
            act(blob)
        assert caught.value.cause == "kerberos"


def test_trailing_bytes_and_length(tgt: Ticket) -> None:
    blob = bytes(encode(tgt))
    for bad in (blob + b"\0", blob[:-1], b"", bytes(CREDENTIAL_MAX + 1), b"\x76\x80" + blob[2:] + b"\0\0"):
        with pytest.raises(MechanismError):
            decode(bad)


@pytest.mark.parametrize(
    "time", [b"203001010000000", b"2030010100+0100", b"20300101000.00Z", b"               "]
)
def test_times_are_utc_to_the_second(tgt: Ticket, time: bytes) -> None:
    blob = changed(tgt, field("info", "endtime", "20300101000000Z"))
    assert decode(blob).end_time == 1893456000
    with pytest.raises(MechanismError):
        decode(blob.replace(b"20300101000000Z", time))


@pytest.mark.parametrize("flags", ["", "1", "01000000111000010000000000000000", "1" * 40])
def test_flags_of_any_width(tgt: Ticket, flags: str) -> None:
    blob = changed(tgt, field("info", "flags", flags))
    assert decode(blob).flags == int(flags.ljust(32, "0")[:32] or "0", 2)


@given(st.data())
def test_one_wrong_byte_is_one_error_or_another_ticket(tgt: Ticket, data: st.DataObject) -> None:
    blob = bytearray(encode(tgt))
    for place in data.draw(st.lists(st.integers(0, len(blob) - 1), min_size=1, max_size=4)):
        blob[place] = data.draw(st.integers(0, 255))
    half = Acceptor(principal=ALICE)
    try:
        half.step(blob)
    except MechanismError:
        assert half.credential is None
    else:
        assert half.credential is not None
        assert half.credential.principal == ALICE


@given(st.binary(max_size=300))
def test_noise(noise: bytes) -> None:
    for blob in (noise, b"\x76\x82\x01\x00" + noise, b"\x76\x03\x30\x01" + noise):
        with pytest.raises(MechanismError):
            decode(blob)
