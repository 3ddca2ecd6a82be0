"""The listening socket that systemd holds over a restart (`sd_listen_fds(3)`, `systemd.socket(5)`).

systemd listens, and gives each gateway that it starts a descriptor of the same socket. While none runs, the
kernel completes connections all the same and keeps them in the socket's queue, and the next gateway accepts
them: an upgrade refuses nobody. Without systemd's variables the gateway listens by itself.

The configuration says where applications bind, and the socket's unit has to agree. A gateway that listened
elsewhere than its configuration says would be found by nobody, or by those it was not meant for.
"""

import socket
from collections.abc import MutableMapping
from typing import Final

from gateway.config_table import ConfigError

# SD_LISTEN_FDS_START: systemd passes its descriptors from the first one behind standard error.
FIRST_DESCRIPTOR: Final = 3

# FileDescriptorName= in the unit; without it the name is the unit's own.
NAME: Final = "smpp"


class ActivationError(ConfigError):
    """The configuration and what systemd hands over do not fit. The message is one line with the remedy."""


def smpp_socket(
    environment: MutableMapping[str, str], process_id: int, host: str, port: int
) -> socket.socket | None:
    """The inherited socket that listens on `host` and `port`, or None where there is none.

    Called once: takes LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES out of `environment`, since a child of this
    process has no use for them, and neither has it for the descriptor. Raises ActivationError for anything
    but one listening stream socket of that name and address.
    """
    addressee = environment.pop("LISTEN_PID", None)
    count = environment.pop("LISTEN_FDS", None)
    name = environment.pop("LISTEN_FDNAMES", "unknown")  # what sd_listen_fds_with_names says without names
    # The variables are inherited: without this question, a child would take its parent's descriptors.
    if count is None or addressee != str(process_id):
        return None
    if count != "1":
        raise ActivationError(
            f"systemd hands over {count} sockets, and [listener] is one address:"
            " give the service one socket unit, with one ListenStream="
        )
    if name != NAME:
        raise ActivationError(
            f"systemd hands over a socket named {name}, and the gateway knows none but {NAME}:"
            f" set FileDescriptorName={NAME} in the socket unit"
        )
    try:
        inherited = socket.socket(fileno=FIRST_DESCRIPTOR)
    except OSError as error:
        raise ActivationError(
            f"systemd hands over descriptor {FIRST_DESCRIPTOR}, and it is no socket: {error.strerror}:"
            " let nothing between systemd and the gateway close it, or unset LISTEN_FDS"
        ) from error
    if complaint := _complaint(inherited, host, port):
        inherited.close()
        raise ActivationError(complaint)
    inherited.set_inheritable(False)
    return inherited


def _complaint(inherited: socket.socket, host: str, port: int) -> str:
    """Why nobody could bind to `host` and `port` through this socket; empty if all is well."""
    if inherited.family not in (socket.AF_INET, socket.AF_INET6) or inherited.type != socket.SOCK_STREAM:
        kind = f"{inherited.family.name}, {inherited.type.name}"
        return f"systemd hands over a socket of {kind}, not of TCP: set ListenStream= to address and port"
    if not inherited.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return "systemd hands over a socket that does not listen: set Accept=no in the socket unit"
    address = inherited.getsockname()
    if address not in _addresses(host, port):
        return (
            f"systemd listens on {address[0]} port {address[1]}, and [listener] says {host} port {port}:"
            " give ListenStream= and [listener] the same, as an address and not as a name"
        )
    return ""


def _addresses(host: str, port: int) -> list[object]:
    """`host` and `port` as a bound socket would write them, whichever way the configuration does.

    A name has none: what it means may change between the start of the socket and that of the gateway.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        return []
    return [address for *_, address in found]
