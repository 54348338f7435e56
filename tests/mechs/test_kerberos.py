"""SASL GSSAPI by RFC 4752: layers, tokens, choices, delegation; each attack on a wrapped frame closes."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import gssapi
import pytest
from flows import ALICE, DELEG, SPN, Kerberos
from gss_halves import Instead, exchange, halves, joined
from gssapi import raw
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sso_mechs import enctypes
from sso_mechs import kerberos as module
from sso_mechs.kerberos import GSSAPI, LAYERS, Resumed

from sso.errors import MechanismError
from sso.mech import FRAME_MAX


@pytest.mark.proves("S118", "S133")
@pytest.mark.parametrize("layer", LAYERS)
def test_every_layer_and_both_directions(kerberos: Kerberos, layer: str) -> None:
    client, guest = joined(kerberos, layer=layer)
    assert client.complete
    assert (client.layer, guest.layer) == (layer, layer)
    assert (client.peer, guest.peer) == (f"{SPN}@TEST.EXAMPLE", ALICE)
    assert client.own_name == ALICE
    assert guest.credential is None
    if layer != "none":
        for text in (b"x", bytes(1000), b"last"):
            assert guest.unwrap(client.wrap(text)) == text
            assert client.unwrap(guest.wrap(text)) == text


def test_the_order_of_tokens_is_that_of_rfc_4752(kerberos: Kerberos) -> None:
    tokens: list[bytes] = []
    exchange(*halves(kerberos), tokens=tokens)
    assert [bool(token) for token in tokens] == [True, False, True]


@pytest.mark.parametrize("layer", ["int", "conf"])
def test_the_longest_frame_is_what_both_advertise(kerberos: Kerberos, layer: str) -> None:
    client, guest = joined(kerberos, layer=layer)
    assert client.plain_max == guest.plain_max < FRAME_MAX
    sealed = client.wrap(bytes(client.plain_max))
    assert FRAME_MAX - 32 < len(sealed) <= FRAME_MAX
    assert guest.unwrap(sealed) == bytes(client.plain_max)


@pytest.mark.parametrize(
    ("wanted", "offered"),
    [("conf", ("none",)), ("conf", ("none", "int")), ("int", ("conf",)), ("none", ("conf",))],
)
def test_what_is_not_offered_is_not_taken(kerberos: Kerberos, wanted: str, offered: tuple[str, ...]) -> None:
    with pytest.raises(MechanismError) as caught:
        joined(kerberos, layer=wanted, layers=offered)
    assert caught.value.cause == "layer"


# The last token


@pytest.mark.parametrize(
    "choice",
    [
        b"",
        b"\x04",
        b"\x04\0\xff",
        b"\0\0\xff\xff",
        b"\x06\0\xff\xff",
        b"\x08\0\xff\xff",
        b"\x02\0\xff\xff",  # int was not offered
        b"\x04\0\xff\xffbob@TEST.EXAMPLE",
        b"\x04\0\xff\xffalice",
        b"\x04\0\xff\xffalice@TEST.EXAMPLE\0",
        b"\x04\0\xff\xff\0",
        b"\x04\0\0\x01",  # a frame too short for anything
    ],
)
def test_a_wrong_choice(kerberos: Kerberos, choice: bytes) -> None:
    client, guest = halves(kerberos, layers=("none", "conf"))
    offer = guest.step(client.step(guest.step(client.step(b""))))
    client._unwrap(offer, False)
    with pytest.raises(MechanismError):
        guest.step(bytes(raw.wrap(client._context, choice, False).message))
    assert not guest.complete
    assert guest.credential is None


def test_an_authzid_that_is_the_authcid_passes(kerberos: Kerberos) -> None:
    client, guest = halves(kerberos)
    offer = guest.step(client.step(guest.step(client.step(b""))))
    client._unwrap(offer, False)
    guest.step(bytes(raw.wrap(client._context, b"\x04\0\xff\xff" + ALICE.encode(), False).message))
    assert guest.complete
    assert guest.peer == ALICE


def test_nothing_is_complete_before_the_session_key_is_proven(kerberos: Kerberos) -> None:
    """After the AP-REQ alone a replayer would stand here too: no peer, no credential."""
    client, guest = halves(kerberos, keytab="deleg", spn=DELEG)
    guest.step(client.step(guest.step(client.step(b""))))
    assert (guest.complete, guest.peer, guest.credential) == (False, "", None)
    with pytest.raises(MechanismError):
        guest.export()


@pytest.mark.parametrize("extra", [b"", b"x"])
def test_a_token_after_the_last_one(kerberos: Kerberos, extra: bytes) -> None:
    for half in joined(kerberos):
        with pytest.raises(MechanismError):
            half.step(extra)


def test_a_token_where_an_empty_one_is_due(kerberos: Kerberos) -> None:
    client, guest = halves(kerberos)
    client.step(guest.step(client.step(b"")))
    with pytest.raises(MechanismError):
        guest.step(b"x")


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(noise=st.lists(st.binary(max_size=120), min_size=1, max_size=3), turn=st.integers(0, 4))
def test_noise_at_every_turn(kerberos: Kerberos, noise: list[bytes], turn: int) -> None:
    client, guest = halves(kerberos)
    ends: list[Any] = [client, guest]
    token = b""
    for index in range(turn):
        token = ends[index % 2].step(token)
    target = ends[turn % 2]
    with suppress(MechanismError):
        for part in noise:
            target.step(part)
    assert guest.peer == ""


# Wrapped frames


def unwraps(half: Any, frame: bytes) -> bool:
    try:
        half.unwrap(frame)
    except MechanismError:
        return False
    return True


@pytest.mark.parametrize("layer", ["int", "conf"])
def test_a_tampered_frame_is_refused_at_every_byte(kerberos: Kerberos, layer: str) -> None:
    client, guest = joined(kerberos, layer=layer)
    frame = client.wrap(b"a line of the protocol\n")
    passed = []
    for place in range(len(frame)):
        damaged = bytearray(frame)
        damaged[place] ^= 0x01
        if unwraps(guest, bytes(damaged)):
            passed.append(place)
    assert passed == []
    assert unwraps(guest, frame)


@pytest.mark.parametrize("layer", ["int", "conf"])
def test_replayed_reordered_reflected_and_foreign_frames(kerberos: Kerberos, layer: str) -> None:
    client, guest = joined(kerberos, layer=layer)
    first, second, third = (client.wrap(text) for text in (b"one", b"two", b"three"))
    assert guest.unwrap(first) == b"one"
    assert not unwraps(guest, first), "replayed"
    assert not unwraps(guest, third), "a gap"
    assert not unwraps(client, second), "reflected"
    other, _ = joined(kerberos, layer=layer)
    assert not unwraps(guest, other.wrap(b"foreign")), "of another session"


def test_a_frame_without_confidentiality_is_refused(kerberos: Kerberos) -> None:
    """The library unwraps it and says so only by a flag; and it writes into the caller's bytes."""
    client, guest = joined(kerberos)
    frame = bytes(raw.wrap(client._context, b"in the clear", False).message)
    kept = bytes(bytearray(frame))
    with pytest.raises(MechanismError) as caught:
        guest.unwrap(frame)
    assert caught.value.cause == "layer"
    assert frame == kept


@pytest.mark.parametrize("frame", [b"", b"\0", b"\x05\x04", bytes(60), b"\x05\x04\x06\xff" + bytes(40)])
def test_frames_that_are_none(kerberos: Kerberos, frame: bytes) -> None:
    for half in joined(kerberos):
        assert not unwraps(half, frame)


# The layer in another process


@pytest.mark.parametrize("layer", LAYERS)
def test_the_layer_goes_on_elsewhere_without_a_key(kerberos: Kerberos, layer: str) -> None:
    client, guest = joined(kerberos, layer=layer)
    assert GSSAPI.resume is not None
    resumed = GSSAPI.resume(guest.export())
    assert isinstance(resumed, Resumed)
    assert resumed.complete
    assert (resumed.layer, resumed.peer, resumed.plain_max) == (guest.layer, ALICE, guest.plain_max)
    assert resumed.credential is None
    if layer != "none":
        assert resumed.unwrap(client.wrap(b"up")) == b"up"
        assert client.unwrap(resumed.wrap(b"down")) == b"down"


# What the context has to have


def test_only_aes_keys(kerberos: Kerberos, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AES", frozenset({17}))
    with pytest.raises(MechanismError) as caught:
        joined(kerberos)
    assert caught.value.cause == "weak-key"


@pytest.mark.parametrize(
    ("oid", "number"), [(b"\x2a\x12", 0x12), (b"\x2a\x17", 0x17), (b"\x2a\xff", 0), (b"", 0)]
)
def test_the_encryption_type_is_the_last_arc(oid: bytes, number: int) -> None:
    assert enctypes.of_key(oid) == number


@pytest.mark.parametrize("flag", ["mutual_authentication", "replay_detection", "out_of_sequence_detection"])
def test_a_context_without_a_protection_is_refused(
    kerberos: Kerberos, monkeypatch: pytest.MonkeyPatch, flag: str
) -> None:
    """An initiator of another make that does not ask for it."""
    wanted = getattr(gssapi.RequirementFlag, flag)
    client, guest = halves(kerberos)
    flags = client._flags & ~int(wanted)
    context = gssapi.SecurityContext(
        name=gssapi.Name(client._target),
        creds=gssapi.Credentials(client._credentials),
        flags=flags,
        mech=module.KRB5,
        usage="initiate",
        channel_bindings=client._binding,
    )
    token = context.step()
    with pytest.raises(MechanismError) as caught:
        guest.step(bytes(token or b""))
    assert caught.value.cause == "gssapi"


@pytest.mark.parametrize(
    "target", [None, "host/other.test.example@TEST.EXAMPLE", SPN + "@OTHER.EXAMPLE", ALICE]
)
def test_the_target_is_compared(
    kerberos: Kerberos, monkeypatch: pytest.MonkeyPatch, target: str | None
) -> None:
    def inquire_context(context: Any, **arguments: Any) -> Any:
        name = None if target is None else gssapi.Name(target, module.PRINCIPAL)
        return raw.inquire_context(context, **arguments)._replace(target_name=name)

    client, guest = halves(kerberos)
    answer = guest.step(client.step(b""))
    monkeypatch.setattr(module, "raw", Instead(inquire_context=inquire_context))
    with pytest.raises(MechanismError) as caught:
        client.step(answer)
    assert caught.value.cause == "target"
    assert client.peer == ""


def test_a_false_answer_of_the_guest_is_refused(kerberos: Kerberos) -> None:
    """Mutual authentication: the answer of another exchange, or one that is changed, proves no key."""
    one, two = halves(kerberos), halves(kerberos)
    one[1].step(one[0].step(b""))
    answer = two[1].step(two[0].step(b""))
    with pytest.raises(MechanismError):
        one[0].step(answer)
    assert not one[0].complete
    assert one[0].peer == ""


def test_dispose_drops_context_and_secret(kerberos: Kerberos) -> None:
    client, guest = joined(kerberos, keytab="deleg", spn=DELEG)
    assert guest.credential is not None
    secret = guest.credential.secret
    assert secret is not None
    for half in (client, guest, client, guest):
        half.dispose()
    assert not any(secret)
    assert guest._context is client._context is None


def test_a_name_in_another_code_is_an_error_of_the_mechanism(kerberos: Kerberos, tmp_path: Path) -> None:
    """Old KDCs have names in Latin-1: no traceback at the client, and no defect of the guest."""
    octets = kerberos.caches["alice"].read_bytes().replace(b"\0\0\0\x05alice", b"\0\0\0\x05al\xefce")
    (tmp_path / "cache").write_bytes(octets)
    with pytest.raises(MechanismError) as caught:
        module.Initiator(spn=SPN, ccache=f"FILE:{tmp_path / 'cache'}")
    assert caught.value.cause == "gssapi"
