"""Mechanisms that are not ours, at the client: the configuration's order, and where each may run."""

from functools import partial
from typing import Any

import pytest
from beds import Certificates
from pair import Pair as Ends

from sso import mech
from sso.client.exits import Exit
from sso.credential import Credential
from sso.errors import ConfigError, MechanismError
from sso.mech import Mechanism, Pair, Setting
from sso.policy import ClientPolicy, GuestPolicy

NAME = "guest.test.example"
SECRETS = (Setting("word", str, "the word"),)


class Client(Mechanism):
    def __init__(self, *, word: str, layer: str = "none") -> None:
        self.own_name, self._word, self._wanted = "alice", word, layer

    def step(self, token: bytes) -> bytes:
        self.complete, self.peer, self.layer = True, "guest", self._wanted
        return self._word.encode()

    def wrap(self, data: bytes) -> bytes:
        return data[::-1]

    def unwrap(self, data: bytes) -> bytes:
        return data[::-1]


class Guest(Client):
    """Believes whoever knows the word."""

    def __init__(self, *, layers: tuple[str, ...] = ("none",)) -> None:
        super().__init__(word="", layer=layers[0])

    def step(self, token: bytes) -> bytes:
        if token != b"sesame":
            raise MechanismError("word", "it is another one")
        super().step(token)
        self.peer = "alice"
        self.credential = Credential("identity", "alice")
        return b""


ONE = Pair("X-ONE", "sasl", Client, Guest, provides=("identity",), initiates=SECRETS)
TWO = ONE._replace(name="X-TWO")
OWN_LAYER = ONE._replace(layers=("none", "conf"))
RIGHT: dict[str, Any] = {"X-ONE": {"word": "sesame"}, "X-TWO": {"word": "sesame"}}


def ends(
    order: tuple[str, ...],
    offered: tuple[str, ...],
    certificates: Certificates | None,
    tables: Any = RIGHT,
    one: Pair = ONE,
    **policy: Any,
) -> Ends:
    """A client with that order and a guest that offers some; inside a verified TLS if `certificates` are."""
    pairs = {"X-ONE": one, "X-TWO": TWO}

    def load(name: str) -> Pair:
        return pairs[name] if name in pairs else mech.load(name)

    def make(name: str, in_tls: bool = False, **arguments: Any) -> Mechanism:
        if name == "TLS":
            assert certificates is not None
            guest = certificates.guest
            return mech.load(name).accept(certificate=str(guest.certificate), key=str(guest.key))
        return pairs[name].accept(**({} if pairs[name].layers == ("none",) else {"layers": ("conf",)}))

    tls: dict[str, Any] = {} if certificates is None else {"tls_name": NAME, "tls_ca": str(certificates.ca)}
    return Ends(
        ClientPolicy(mechanisms=order, **tls, **policy),
        GuestPolicy(tls=certificates is not None, sasl=offered, types=()),
        make=make,
        load=load,
        tables=tables,
    ).run_out()


def test_one_that_is_listed_signs_in_inside_a_verified_tls(certificates: Certificates) -> None:
    pair = ends(("X-ONE",), ("X-ONE",), certificates)
    assert pair.exit == Exit.SIGNED_IN, pair.client.outcome
    assert [(claim.principal, claim.credential and claim.credential.type) for claim in pair.judge.claims] == [
        ("alice", "identity")
    ]


@pytest.mark.parametrize(
    ("offered", "used"),
    [(("X-ONE", "X-TWO"), "X-TWO"), (("X-ONE",), "X-ONE"), (("X-TWO",), "X-TWO")],
)
def test_the_configurations_order_decides_among_what_the_guest_offers(
    offered: tuple[str, ...], used: str, certificates: Certificates
) -> None:
    pair = ends(("X-TWO", "X-ONE"), offered, certificates)
    assert pair.exit == Exit.SIGNED_IN
    assert f"signing in by {used}" in pair.progress


def test_only_one_that_is_listed_and_offered_is_ever_loaded(certificates: Certificates) -> None:
    """Of those that are not installed each would be an error, if it were looked for."""
    pair = ends(("X-LISTED",), ("X-OFFERED",), certificates)
    assert pair.exit == Exit.NO_CREDENTIAL, pair.client.outcome
    assert ends(("X-LISTED",), ("X-LISTED",), certificates).exit == Exit.USAGE


def test_who_is_refused_is_not_tried_by_the_next_one(certificates: Certificates) -> None:
    tables = {**RIGHT, "X-ONE": {"word": "other"}}
    pair = ends(("X-ONE", "X-TWO"), ("X-ONE", "X-TWO"), certificates, tables)
    assert pair.exit == Exit.NOT_ACCEPTED and "signing in by X-TWO" not in pair.progress
    assert pair.judge.claims == []


@pytest.mark.parametrize(
    ("one", "policy", "code"),
    [
        (ONE, {}, Exit.NO_CREDENTIAL),  # no layer of its own
        (OWN_LAYER, {}, Exit.NO_CREDENTIAL),  # and nobody has named the guest
        (OWN_LAYER, {"spn": "host/a.b"}, Exit.NO_CREDENTIAL),  # a connection file alone has, which is enough
        (OWN_LAYER._replace(confidential=True), {"spn": "host/a.b"}, Exit.NO_CREDENTIAL),
    ],
)
def test_outside_tls_it_needs_a_layer_and_no_secret_tokens(one: Pair, policy: Any, code: Exit) -> None:
    pair = ends(("X-ONE",), ("X-ONE",), None, one=one, **policy)
    if policy and not one.confidential:
        assert pair.exit == Exit.SIGNED_IN
    else:
        assert pair.exit == code and pair.judge.claims == []


@pytest.mark.parametrize("inside", [False, True])
def test_one_that_always_has_a_layer_of_its_own_signs_in(inside: bool, certificates: Certificates) -> None:
    """Which layer it has, a half says when it is complete, and not before."""
    always = ONE._replace(layers=("conf",))
    policy = {} if inside else {"spn": "host/a.b"}
    pair = ends(("X-ONE",), ("X-ONE",), certificates if inside else None, one=always, **policy)
    assert pair.exit == Exit.SIGNED_IN, pair.client.outcome


def test_a_missing_setting_is_named(certificates: Certificates) -> None:
    pair = ends(("X-ONE",), ("X-ONE",), certificates, {})
    assert pair.client.outcome is not None
    assert pair.client.outcome[:2] == (Exit.USAGE, "[mechanism.X-ONE] word: write the word")


def test_a_console_that_is_for_somebody_shows_it_nobody_else(certificates: Certificates) -> None:
    """Whom --for names is a name of Kerberos."""
    pair = ends(("X-ONE",), ("X-ONE",), certificates, only_for="alice")
    assert pair.exit != Exit.SIGNED_IN and pair.judge.claims == []


class Broken(Client):
    """Goes wrong as it is told."""

    def __init__(self, how: str, *, word: str, layer: str = "none") -> None:
        super().__init__(word=word, layer=layer)
        self._how = how
        if how == "initiate":
            raise ZeroDivisionError(word)

    def bind(self, binding: bytes) -> None:
        if self._how == "bind":
            raise SystemExit(self._word)

    def step(self, token: bytes) -> Any:
        if self._how == "step":
            raise ZeroDivisionError(self._word)
        if self._how == "settings":
            raise ConfigError(self._word)
        if self._how == "cause":
            raise MechanismError(5)  # type: ignore[arg-type]
        answer = super().step(token)
        for name, value in STATES.get(self._how, {}).items():
            setattr(self, name, value)
        return {"none": None, "text": self._word}.get(self._how, answer)

    def unwrap(self, data: bytes) -> bytes:
        if self._how == "unwrap":
            raise ZeroDivisionError(self._word)
        return super().unwrap(data)

    def dispose(self) -> None:
        raise ZeroDivisionError(self._word)


STATES: dict[str, dict[str, Any]] = {
    "peer": {"peer": None},
    "size": {"plain_max": 0},
    "layer": {"layer": "int"},
    "life": {"lifetime": "for ever"},
}
KINDS = {"bind": "SystemExit", "settings": "ConfigError", "cause": "MechanismError", "size": "ValueError"}
KINDS |= {"layer": "ValueError", "peer": "TypeError", "life": "TypeError"}
KINDS |= {"none": "it gave no bytes", "text": "it gave no bytes"}


@pytest.mark.parametrize("how", ["initiate", "step", "unwrap", *KINDS])
def test_a_defect_is_one_line_with_the_mechanisms_name_and_no_secret(
    how: str, certificates: Certificates
) -> None:
    broken = OWN_LAYER if how == "unwrap" else ONE
    inside = None if how == "unwrap" else certificates
    policy = {"spn": "host/a.b"} if how == "unwrap" else {}
    pair = ends(("X-ONE",), ("X-ONE",), inside, one=broken._replace(initiate=partial(Broken, how)), **policy)
    assert pair.client.outcome is not None
    assert pair.client.outcome[:2] == (
        Exit.MECHANISM,
        f"a mechanism failed (X-ONE: {KINDS.get(how, 'ZeroDivisionError')})",
    )
    assert pair.judge.claims == [] or how == "unwrap"


def test_one_that_cannot_be_made_leaves_the_rest_of_the_list(certificates: Certificates) -> None:
    broken = ONE._replace(initiate=partial(Broken, "initiate"))
    pair = ends(("X-ONE", "X-TWO"), ("X-ONE", "X-TWO"), certificates, one=broken)
    assert pair.exit == Exit.SIGNED_IN and "signing in by X-TWO" in pair.progress


class Bare:
    """A half that is none: it has the attributes, and no methods."""

    layer, peer, plain_max, own_name, lifetime = "none", "", 1, "alice", 0
    complete = delegated = False


def test_what_is_no_mechanism_is_not_begun(certificates: Certificates) -> None:
    bare: Any = Bare()
    broken = ONE._replace(initiate=lambda **settings: bare)
    pair = ends(("X-ONE",), ("X-ONE",), certificates, one=broken)
    assert pair.client.outcome is not None
    assert pair.client.outcome[:2] == (
        Exit.MECHANISM,
        "a mechanism failed (X-ONE: what it makes is no Mechanism)",
    )


class Unbound(Guest):
    """The guest's half, or its stand-in, whose acceptor is gone."""

    def bind(self, binding: bytes) -> None:
        raise MechanismError("acceptor", "the acceptor is gone")


def test_one_that_fails_at_the_guest_before_its_first_token_leaves_the_rest(
    certificates: Certificates,
) -> None:
    broken = ONE._replace(accept=Unbound)
    pair = ends(("X-ONE", "X-TWO"), ("X-ONE", "X-TWO"), certificates, one=broken)
    assert pair.exit == Exit.SIGNED_IN and "signing in by X-TWO" in pair.progress
    assert pair.log_ids == ["mechanism-unavailable", "authenticated"]


def test_one_that_asks_the_person_is_interrupted_as_ever(certificates: Certificates) -> None:
    def asks(**settings: Any) -> Mechanism:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ends(("X-ONE",), ("X-ONE",), certificates, one=ONE._replace(initiate=asks))
