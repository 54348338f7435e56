"""The form of a guest's service name, in a file, in a link or from the guest itself."""

import pytest

from sso.spn import HOST_MAX, is_spn


@pytest.mark.parametrize(
    "name",
    ["host/vm.example", "host/vm_01.example", "host/vm_01.example@CORP_1.EXAMPLE", f"host/{'a' * HOST_MAX}"],
)
def test_names_of_services_as_sites_have_them(name: str) -> None:
    assert is_spn(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "host",
        "host/",
        "/vm",
        "host/-vm",
        "host/.vm",
        "host/vm\n",
        "host/v m",
        "host/vm@",
        "host/a/b@R",
        f"host/{'a' * (HOST_MAX + 1)}",
    ],
)
def test_what_is_no_name_of_a_service(name: str) -> None:
    assert not is_spn(name)
