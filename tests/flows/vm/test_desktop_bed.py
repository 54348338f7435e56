"""The bed with a real desktop guest: a greeter is on its screen as soon as it is restored."""

from pathlib import Path

import pytest
from beds_vm import Machines

pytestmark = [pytest.mark.desktop, pytest.mark.long]


@pytest.mark.parametrize(
    ("manager", "program"), [("gdm3", "gnome-shell"), ("lightdm", "lightdm-gtk-greeter")]
)
def test_the_greeter_is_there(bare_machines: Machines, manager: str, program: str, tmp_path: Path) -> None:
    guest = bare_machines("desktop", manager=manager)
    sessions = "loginctl list-sessions --no-legend | awk '{print $1}'"
    shown = guest.run(f"loginctl show-session $({sessions}) -p Class -p Seat -p Active", check=True).output
    assert {"Class=greeter", "Seat=seat0", "Active=yes"} <= set(shown.split())
    assert guest.run(f"pgrep -f {program}").code == 0
    assert guest.screenshot(tmp_path / "greeter.png").stat().st_size > 0
