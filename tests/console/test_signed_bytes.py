"""Any bytes have an answer; what is cut, spliced or in another order counts only where it is whole."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from signed_files import ASKED, FILE, OTHER, entered, look, opened, portal, signed, site, trusted

ENTRY = entered(b"")
OPENING = opened(FILE)[len(FILE) :]
KEYS = (site(), portal(), trusted(OTHER, "entries", "openings", name="other"))


@given(st.binary(max_size=2000))
@example(b"[x-sso-signature]")
@example(b"[x-sso-entry]\n")
@example(b"[x-sso-entry]\nsignature=\n[x-sso-signature]\nsignature=\n")
@example(b"[x-sso-signature]\n" * 3)
def test_any_bytes_have_an_answer(octets: bytes) -> None:
    found = look(octets, ASKED, *KEYS)
    assert found.entry is None and found.opening is None


PIECES = st.sampled_from(
    [
        *(
            ENTRY,
            OPENING,
            FILE,
            b"[x-sso-entry]\n",
            b"[x-sso-signature]\n",
            b"signature=",
            b"\n",
            b"\r\n",
            b"#",
        ),
        *(ENTRY.splitlines(keepends=True)),
        *(OPENING.splitlines(keepends=True)),
        *(b" ", b"\0", b"[", b"]", b"=", b"key=", b"version=1\n", b"x=y\n", b"\xff", b"\xe2\x80\xa8"),
    ]
)


@pytest.mark.slow
@settings(max_examples=300)
@given(st.lists(PIECES, max_size=12).map(b"".join))
def test_pieces_in_any_order_count_only_where_they_are_whole(octets: bytes) -> None:
    found = look(octets, ASKED, *KEYS)
    if found.entry is not None:
        assert (b"\n" + octets).count(b"\n[x-sso-entry]") == 1 and ENTRY in octets
    if found.opening is not None:  # it signed FILE and itself, and nothing else
        assert octets == FILE + OPENING


@pytest.mark.slow
@settings(max_examples=300)
@given(st.integers(0, len(signed()) - 1), st.integers(0, 40), st.binary(max_size=40), st.sampled_from([1, 2]))
def test_a_cut_and_a_splice_never_pass(at: int, gone: int, more: bytes, times: int) -> None:
    file = signed()
    changed = file[:at] + more * times + file[at + gone :]
    found = look(changed, ASKED, *KEYS)
    assert changed == file or found.opening is None
    assert found.entry is None or ENTRY.rstrip(b"\n") in changed
