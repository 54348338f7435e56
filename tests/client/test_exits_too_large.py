"""A refusal for size is final: the same ticket would be as large the next time."""

from pathlib import Path

from beds_staying import Console
from flows import DELEG, Kerberos

from sso.client.staying import LOOK_EVERY
from sso.policy import ClientPolicy, GuestPolicy
from sso.protocol.messages import Code


def test_a_ticket_that_is_too_large_is_not_shown_again(kerberos: Kerberos, tmp_path: Path) -> None:
    def give(life: str) -> str:
        return f"FILE:{kerberos.realm.kinit('alice', '-f', '-l', life, ccache=tmp_path / 'cc')}"

    mechanisms = {"GSSAPI": kerberos.guest("deleg", DELEG)}
    console = Console(ClientPolicy(spn=DELEG), GuestPolicy(), mechanisms=mechanisms, ccache=give("1h"))
    console.run()
    give("2h")
    console.judge.code = int(Code.TOO_LONG)
    console.wait(3000)
    console.announce().wait(3000)
    assert len(console.sessions) == len(console.said) == 1, "nor to a guest that begins anew"
    console.judge.code = 0
    give("3h")
    console.wait(LOOK_EVERY)
    assert len(console.sessions) == 2 and console.states[-1].startswith("renewed until=")
