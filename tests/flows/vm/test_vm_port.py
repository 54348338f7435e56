"""The SSO port as a guest sees it: what the kernel and QEMU do, on which the channel process is built."""

import shlex
import socket
from collections.abc import Iterator

import pytest
from beds_vm import Machines

from sso.demo.vm import Machine

pytestmark = pytest.mark.vm

# Holds the port in the guest and answers what is written to a FIFO: each line is a Python expression.
HOLDER = """
import errno, os, select

def opened():
    return os.open("/dev/virtio-ports/spice.sso.0", os.O_RDWR | os.O_NONBLOCK)

def poll():
    names = {select.EPOLLIN: "IN", select.EPOLLOUT: "OUT", select.EPOLLHUP: "HUP"}
    poller = select.epoll()
    poller.register(port, select.EPOLLIN | select.EPOLLOUT)
    said = dict(poller.poll(0)).get(port, 0)
    poller.close()
    return "+".join(name for bit, name in names.items() if said & bit)

def read(most=65536):
    return os.read(port, most)

def read_all():
    said = b""
    while len(chunk := read()) > 0:
        said += chunk
        if not select.select([port], [], [], 0)[0]:
            break
    return said

def write(data):
    return os.write(port, data)

def reopen():
    global port
    os.close(port)
    port = opened()

def watch():
    global edges
    edges = select.epoll()
    edges.register(port, select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)

def edge(seconds=0.0):
    return len(edges.poll(seconds))

port = opened()
while True:
    for line in open("/run/asked"):
        try:
            said = repr(eval(line))
        except OSError as error:
            said = errno.errorcode[error.errno]
        with open("/run/said", "w") as answer:
            answer.write(said)
"""


class Holder:
    """A process of the guest that holds the port."""

    def __init__(self, vm: Machine) -> None:
        self._vm = vm
        vm.write("/run/holder.py", HOLDER)
        vm.run(
            "mkfifo /run/asked /run/said && (setsid python3 /run/holder.py >/run/words 2>&1 &)", check=True
        )

    def __call__(self, expression: str) -> str:
        """Evaluate an expression and return its repr, or the name of the error's number."""
        command = f"echo {shlex.quote(expression)} >/run/asked; cat /run/said"
        return self._vm.run(f"timeout 30 sh -c {shlex.quote(command)} || cat /run/words").output

    def until(self, expression: str, wanted: str) -> None:
        """Ask until the answer comes: QEMU tells the guest in its own time."""
        for _ in range(300):
            if (said := self(expression)) == wanted:
                return
        pytest.fail(f"{expression} is {said}, not {wanted}")


@pytest.fixture
def machine(bare_machines: Machines) -> Machine:
    return bare_machines()


@pytest.fixture
def guest(machine: Machine) -> Holder:
    return Holder(machine)


@pytest.fixture
def client(machine: Machine, guest: Holder) -> Iterator[socket.socket]:
    with attached(machine) as client:
        guest.until("poll()", "'OUT'")
        yield client


def attached(machine: Machine) -> socket.socket:
    """A client at the host's end."""
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(60)
    client.connect(str(machine.port))
    return client


def test_without_a_client_it_is_readable_and_hung_up(guest: Holder) -> None:
    assert guest("poll()") == "'IN+HUP'"
    assert guest("read()") == "b''"
    assert guest("write(b'x')") == "EAGAIN"


def test_with_a_quiet_client_it_is_writable_only(guest: Holder, client: socket.socket) -> None:
    assert guest("poll()") == "'OUT'"
    assert guest("read()") == "EAGAIN"
    assert guest("write(b'greetings')") == "9"
    assert client.recv(100) == b"greetings"


def test_data_comes_in_pieces_of_a_page(guest: Holder, client: socket.socket) -> None:
    client.sendall(b"x" * 5000)
    guest.until("poll()", "'IN+OUT'")
    assert int(guest("len(read())")) <= 4096


def test_a_client_that_left_is_like_none(guest: Holder, client: socket.socket) -> None:
    client.close()
    guest.until("poll()", "'IN+HUP'")
    assert guest("read()") == "b''"
    assert guest("write(b'x')") == "EAGAIN"


def test_only_one_process_holds_it(guest: Holder) -> None:
    assert guest("opened()") == "EBUSY"


def test_each_change_is_one_edge(machine: Machine, guest: Holder) -> None:
    guest("watch()")
    guest.until("edge()", "0")  # what it was when the watch began
    for _ in range(3):
        with attached(machine):
            assert guest("edge(30)") == "1"
            assert guest("edge()") == "0"
        assert guest("edge(30)") == "1"
        assert guest("edge()") == "0"


def test_a_dead_clients_bytes_are_glued_before_the_next_ones(machine: Machine, guest: Holder) -> None:
    with attached(machine) as one:
        guest.until("poll()", "'OUT'")
        one.sendall(b"of the first,")
        guest.until("poll()", "'IN+OUT'")
    guest.until("poll()", "'IN+HUP'")
    with attached(machine) as other:
        other.sendall(b"of the second")
        guest.until("poll()", "'IN+OUT'")
        assert guest("read_all()").startswith("b'of the first,")


@pytest.mark.parametrize("attached_meanwhile", [False, True])
def test_closing_and_opening_drops_them(machine: Machine, guest: Holder, attached_meanwhile: bool) -> None:
    with attached(machine) as one:
        guest.until("poll()", "'OUT'")
        one.sendall(b"of the first,")
        guest.until("poll()", "'IN+OUT'")
    guest.until("poll()", "'IN+HUP'")
    if not attached_meanwhile:
        guest("reopen()")
    with attached(machine) as other:
        guest.until("'HUP' in poll()", "False")
        if attached_meanwhile:
            guest("reopen()")
        other.sendall(b"of the second")
        guest.until("'IN' in poll()", "True")
        assert guest("read_all()") == "b'of the second'"
