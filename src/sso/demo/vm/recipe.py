"""What is in the images: packages, settings, kernel modules, and the machine that each one needs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

RELEASE = "bookworm"
HOSTNAME = "guest.test.example"
PEOPLE = ("alice", "bob")  # as in the sandbox

_CONTROL = "/usr/local/lib/test-control.py"


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# A fixed machine-id, since an empty one means a first boot, which enables every unit there is.
_FILES = {
    "etc/hostname": HOSTNAME.partition(".")[0] + "\n",
    "etc/hosts": f"127.0.0.1 localhost\n127.0.1.1 {HOSTNAME} {HOSTNAME.partition('.')[0]}\n",
    "etc/fstab": "",
    "etc/machine-id": "00000000000040008000000000000001\n",
    "etc/default/locale": "LANG=C.UTF-8\n",
    "etc/systemd/journald.conf.d/test.conf": "[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\n",
    "etc/systemd/system.conf.d/test.conf": "[Manager]\nDefaultTimeoutStartSec=300\n",
    "etc/systemd/system/test-control.service": f"""\
[Unit]
Description=Control port of the test bed
StartLimitIntervalSec=0

[Service]
ExecStart=/usr/bin/python3 -I {_CONTROL}
Restart=always
RestartSec=1
KillMode=process

[Install]
WantedBy=multi-user.target
""",
    _CONTROL[1:]: Path(__file__).with_name("guest_control.py").read_text(encoding="utf-8"),
}

# Needless work at every start, and timers that would wake in the middle of a test.
_MASKED = _names(
    """
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service
    fstrim.timer systemd-tmpfiles-clean.timer man-db.timer
    """
)

_SYSTEM = _names(
    """
    systemd systemd-sysv libpam-systemd dbus udev kmod util-linux procps iproute2
    login passwd libpam-modules libpam-runtime polkitd strace
    python3 python3-gssapi python3-pyasn1 python3-jeepney krb5-user libkrb5-3 libpam0g
    """
)


@dataclass(frozen=True)
class Flavour:
    """An image. `loose` packages are unpacked without their dependencies; `setup` runs in the image.

    `modules` is what the initrd loads, `keep` the folders of kernel modules that stay (none: all),
    `memory` in MiB, `display` QEMU's graphics device. `managers` are the display managers, each with the
    shell condition by which its greeter is there.
    """

    name: str
    packages: tuple[str, ...]
    loose: tuple[str, ...]
    modules: tuple[str, ...]
    memory: int
    display: str
    keep: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    masked: tuple[str, ...] = ()
    setup: str = ""
    managers: Mapping[str, str] = field(default_factory=dict)


_GREETER = (
    "loginctl list-sessions --no-legend | awk '{print $1}' | xargs -r loginctl show-session -p Class"
    " | grep -qx Class=greeter"
)


def _idle(program: str) -> str:
    """It runs, and used no processor time for two seconds: it has drawn its screen."""
    used = "cut -d ' ' -f 14 /proc/$process/stat"
    return f'process=$(pgrep -x {program}) && was=$({used}) && sleep 2 && [ "$({used})" = "$was" ]'


# ext4 asks the kernel for crc32c by a name that modules.dep does not know.
_MODULES = ("virtio_pci", "virtio_blk", "virtio_console", "virtio_rng", "crc32c_generic", "ext4")

SMALL = Flavour(
    name="small",
    packages=(*_SYSTEM, "greetd"),
    loose=("linux-image-cloud-amd64",),
    modules=_MODULES,
    memory=512,
    display="VGA",
    files=_FILES,
    masked=_MASKED,
    setup="systemctl disable greetd.service",
    managers={"greetd": _GREETER},
)

_DCONF = """\
[org/gnome/desktop/interface]
enable-animations=false

[org/gnome/desktop/session]
idle-delay=uint32 0

[org/gnome/desktop/background]
picture-options='none'
primary-color='#203040'

[org/gnome/desktop/screensaver]
picture-options='none'

[org/gnome/shell]
welcome-dialog-last-shown-version='99'
"""

DESKTOP = Flavour(
    name="desktop",
    packages=_SYSTEM
    + _names(
        """
        dbus-user-session dconf-cli fonts-dejavu-core adwaita-icon-theme
        gdm3 gnome-shell gnome-session-bin gnome-session-common gnome-settings-daemon
        xwayland libgl1-mesa-dri libegl1 libgles2 xserver-xorg-core xinit xterm
        xserver-xorg-input-libinput x11-xserver-utils openbox lightdm lightdm-gtk-greeter
        """
    ),
    # The whole gnome-session would bring a portal and all that it needs.
    loose=("linux-image-amd64", "gnome-session"),
    modules=(*_MODULES, "bochs"),
    keep=_names(
        """
        arch/ crypto/ lib/ fs/ drivers/virtio/ drivers/block/virtio drivers/char/
        drivers/gpu/drm/[^/]*\\.ko drivers/gpu/drm/ttm/ drivers/gpu/drm/tiny/ drivers/video/
        drivers/input/ drivers/hid/ drivers/i2c/ net/unix/ net/packet/
        """
    ),
    memory=2048,
    display="VGA,xres=800,yres=600",
    files={
        **_FILES,
        "etc/gdm3/daemon.conf": "[daemon]\nInitialSetupEnable=false\n",
        "etc/gdm3/greeter.dconf-defaults": _DCONF,
        "etc/dconf/profile/user": "user-db:user\nsystem-db:local\n",
        "etc/dconf/db/local.d/00-test": _DCONF,
        "etc/lightdm/lightdm.conf.d/test.conf": "[Seat:*]\nuser-session=openbox\n",
        # A bare black screen would prove nothing to who looks at the picture.
        "etc/xdg/openbox/autostart": "xterm &\n",
    },
    masked=_MASKED + _names("colord.service geoclue.service packagekit.service udisks2.service"),
    setup="""\
systemctl set-default multi-user.target
rm -f /etc/systemd/system/display-manager.service
dconf update
systemctl --global mask evolution-addressbook-factory.service evolution-calendar-factory.service \\
    evolution-source-registry.service tracker-miner-fs-3.service tracker-miner-fs-control-3.service \\
    tracker-extract-3.service pipewire.service pipewire.socket pipewire-pulse.service \\
    pipewire-pulse.socket wireplumber.service org.gnome.SettingsDaemon.UsbProtection.service""",
    managers={
        "gdm3": f"{_GREETER} && journalctl -q --grep 'Entering running state' | grep -q . &&"
        f" {_idle('gnome-shell')}",
        "lightdm": f"{_GREETER} && {_idle('lightdm-gtk-gre')}",
    },
)

FLAVOURS = MappingProxyType({flavour.name: flavour for flavour in (SMALL, DESKTOP)})
