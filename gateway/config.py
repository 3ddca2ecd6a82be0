"""The configuration: one TOML file into frozen structs, or one line that says what is wrong with it.

Passwords are not in the file, only paths. :func:`read` stops at the paths and serves the commands of people
who may not read them; :func:`load` goes on to read every password file, and is what a gateway starts from.
"""

from __future__ import annotations

import codecs
import hashlib
import math
import os
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from gateway.config_table import ConfigError, TableDecoder, WrongValue, is_credential, located
from gateway.networks import Networks
from gateway.password import PASSWORD_OCTETS_MAX, Password, PasswordError, read_clear, read_hash

SOCKET_PATH_OCTETS_MAX: Final = 107
"""sun_path has 108 octets on Linux, one of them the final NUL (unix(7))."""


# The types of values. A description is the wording of the error; bounds describe themselves.
Name = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
        description="a name of at most 64 letters, digits and . _ -",
    ),
]
Host = Annotated[
    str,
    Meta(
        # One colon would be a port; an IPv6 address has two or more.
        pattern=r"^([A-Za-z0-9._-]{1,253}|[0-9A-Fa-f.]*:[0-9A-Fa-f.:]*:[0-9A-Fa-f.:]*(%[A-Za-z0-9._-]+)?)$",
        description="a host name or an IP address, without port",
    ),
]
Port = Annotated[int, Meta(ge=1, le=65535)]
SystemId = Annotated[
    str, Meta(pattern=r"^[!-~]{1,15}$", description="1 to 15 printable ASCII characters without spaces")
]  # SMPP 3.4 §5.2.1: 16 octets with the NUL
SystemType = Annotated[
    str, Meta(pattern=r"^[ -~]{0,12}$", description="at most 12 printable ASCII characters")
]  # SMPP 3.4 §5.2.3: 13 octets with the NUL
# Addresses have 20 characters (SMPP 3.4 §5.2.8). An empty prefix would allow every source.
SourcePrefix = Annotated[str, Meta(pattern=r"^[0-9A-Za-z]{1,20}$")]
Sources = Annotated[
    tuple[SourcePrefix, ...],
    Meta(description='a list of prefixes of 1 to 20 digits or letters, such as ["10639110"]'),
]
# Above 10,000 binds, a process runs out of descriptors first (LimitNOFILE of the unit).
Sessions = Annotated[int, Meta(ge=1, le=10_000)]
# A window is memory and, after a cut, so many uncertain parts; no carrier gives more than some hundreds.
Window = Annotated[int, Meta(ge=1, le=10_000)]
# Twice what one gateway process can carry; above it a limit would limit nothing.
Rate = Annotated[int, Meta(ge=1, le=100_000)]
Duration = Annotated[float, Meta(ge=0.1, le=86_400)]
Inactivity = Annotated[float, Meta(ge=1, description="a number of seconds from 1, or inf for never")]
Hours = Annotated[int, Meta(ge=1, le=8_784)]
Entries = Annotated[int, Meta(ge=1_000, le=10_000_000)]
# What a key for one octet of an address says when it is absent: the octet goes on as the application sent it.
AS_SUBMITTED: Final = -1
AddressOctet = Annotated[int, Meta(ge=0, le=255)]  # TON or NPI (SMPP 3.4 §5.2.5, §5.2.6); carriers have more
IdForm = Literal["any", "decimal", "hexadecimal", "uuid"]
InterfaceVersion = Annotated[Literal[0x33, 0x34, 0x50], Meta(description="0x33, 0x34 or 0x50")]
Network = Literal["mobile", "unicom", "telecom", "broadnet"]
LaneNames = Annotated[
    tuple[Literal["emergency", "interactive", "notice", "bulk"], ...],
    Meta(min_length=1, description='a list of "emergency", "interactive", "notice" and "bulk", one or more'),
]
CarrierNames = Annotated[
    tuple[Name, ...], Meta(min_length=1, description="a list of names of carriers, one or more")
]
Weights = Annotated[
    tuple[Annotated[int, Meta(ge=0, le=1000)], ...],
    Meta(description="a list of whole numbers from 0 to 1000, one for each carrier of the route"),
]


VerifierKeys = Annotated[
    tuple[Annotated[str, Meta(pattern=r"^[^+\s]+\+[0-9a-f]{8}\+[A-Za-z0-9+/=]+$")], ...],
    Meta(description="a list of verifier keys, each as `jingxin keys witness` prints it"),
]


class GatewayConfig(Struct, frozen=True, kw_only=True):
    """[gateway]: which host this is, and where its state lies."""

    name: Name
    state_dir: Path

    @property
    def evidence_dir(self) -> Path:
        return self.state_dir / "evidence"

    @property
    def proofs_dir(self) -> Path:
        return self.state_dir / "proofs"

    @property
    def control_socket(self) -> Path:
        return self.state_dir / "control.sock"


class ListenerConfig(Struct, frozen=True, kw_only=True):
    """[listener]: where applications bind."""

    host: Host = "127.0.0.1"  # nobody from outside until it is said
    port: Port = 2775  # the port registered for SMPP
    # All accounts: 30 applications with 8 each; the buffers of a session take some 100 KiB.
    sessions_max: Sessions = 256
    # Long enough for a slow peer, short enough that idle sockets do not gather.
    bind_timeout_s: Duration = 5.0
    # Below the minute after which firewalls begin to forget a silent connection.
    enquire_link_s: Duration = 30.0
    # A receiver that waits for replies is honest for days, and enquire_link finds the dead: off.
    inactivity_s: Inactivity = math.inf


class HttpConfig(Struct, frozen=True, kw_only=True):
    """[http]: /metrics, /healthz and /readyz."""

    host: Host = "127.0.0.1"
    port: Port = 9464  # the port that exporters of OpenTelemetry use for Prometheus


class EvidenceConfig(Struct, frozen=True, kw_only=True):
    """[evidence]: the append-only log."""

    master_key_file: Path
    # With it the ledger signs checkpoints; `signing` beside the master key unless it is given.
    signing_key_file: Path | None = None
    witnesses: VerifierKeys = ()  # whose cosignatures of checkpoints count
    # 1.2 million records of 220 octets; zeroed ahead in about a second.
    segment_mib: Annotated[int, Meta(ge=1, le=4096)] = 256


class SettlementConfig(Struct, frozen=True, kw_only=True):
    """[settlement]: what statements and reports are made with."""

    contract_file: Path | None = None  # the contract as data; absent: the one that ships
    font_file: Path | None = None  # for what is printed; absent: where Debian's packages put one


class LimitsConfig(Struct, frozen=True, kw_only=True):
    """[limits]: how many of each thing memory holds. An entry costs 200 to 600 octets."""

    parts_open_max: Entries = 1_000_000  # 500 parts a second, unanswered for half an hour
    carrier_queue_max: Entries = 200_000  # a carrier: over six minutes of backlog at 500 parts a second
    outbox_memory_max: Entries = 10_000  # an account: 100 windows ahead; what is more waits in the evidence
    receipts_pending_max: Entries = 100_000  # receipts that match nothing yet: rare, so this is hours of them


class LanesConfig(Struct, frozen=True, kw_only=True):
    """[lanes]: how old the head of a queue may be for its lane to take more. Beyond it a message would come
    too late: a code is of no use after a minute, a bulk message is after an hour."""

    emergency_age_max_s: Duration = 60.0
    interactive_age_max_s: Duration = 60.0
    notice_age_max_s: Duration = 1_800.0
    bulk_age_max_s: Duration = 14_400.0


class OutcomesConfig(Struct, frozen=True, kw_only=True):
    """[outcomes]: what carriers' statuses mean."""

    file: Path | None = None  # an operator's own table, whose rows go before the shipped ones


class RepliesConfig(Struct, frozen=True, kw_only=True):
    """[replies]: messages of subscribers (上行)."""

    default_account: SystemId | Literal[""] = ""  # of a reply that nothing else routes; none: it is unrouted
    last_message_h: Hours = 72  # how long the account that wrote last to a subscriber has the answer
    remembered_max: Entries = 100_000  # subscribers of whom that is known, some 150 octets each
    part_timeout_s: Duration = 300.0  # for the missing parts of a long reply


class NumbersConfig(Struct, frozen=True, kw_only=True):
    """[numbers]: what the number plan leaves open."""

    default_network: Network = "mobile"  # of a mobile number without a known prefix; the largest network
    reject_iot: bool = True  # numbers of machines: no person reads there


class AccountTable(Struct, frozen=True, kw_only=True):
    """[[account]]: an application, as the file has it."""

    system_id: SystemId
    password_file: Path
    networks: Networks = Networks()
    sources: Sources = ()
    sessions_max: Sessions = 8
    window: Window = 100  # unanswered submit_sm a session: 1 ms commits fill it at 100,000 parts a second
    rate_per_s: Rate = 100  # parts: hurts no carrier when somebody forgot to say it
    burst: Rate = 0  # parts; absent: as rate_per_s
    uncertain: Literal["wait", "resend"] = "wait"  # a second copy is worse than a late outcome, alarms apart
    report_window: Window = 100  # unanswered deliver_sm a session, as much as applications give us
    lanes: LaneNames = ("interactive", "notice")  # emergency has to be granted, and bulk be chosen
    # What it sends (contract 二.1); subscribers may opt out of convenience services alone (china: 3.3).
    category: Literal["office", "convenience", "document"] = "document"
    report_retention_h: Hours = 192  # receipts of an absent application: the eight days of a long holiday

    def __post_init__(self) -> None:
        if self.burst == 0:
            msgspec.structs.force_setattr(self, "burst", self.rate_per_s)


class AccountConfig(AccountTable, frozen=True, kw_only=True):
    """An application with the hash line of its password."""

    password_hash: str


class CarrierTable(Struct, frozen=True, kw_only=True):
    """[[carrier]]: our account at a carrier, as the file has it."""

    name: Name
    network: Network
    host: Host
    port: Port
    system_id: SystemId
    password_file: Path
    sessions: Annotated[int, Meta(ge=1, le=64)] = 1  # carriers grant a handful
    window: Window = 16  # what carriers grant without asking
    rate_per_s: Rate = 100  # parts, all links of the account together
    burst: Rate = 0  # parts; absent: as rate_per_s; below 10 ms' worth, a batch, the rate is not reached
    bind: Literal["transceiver", "transmitter", "receiver"] = "transceiver"
    system_type: SystemType = ""
    interface_version: InterfaceVersion = 0x34  # SMPP 3.4 §5.2.4
    default_alphabet: Literal["gsm0338", "ascii", "latin1"] = "gsm0338"  # what data_coding 0 means there
    connect_timeout_s: Duration = 5.0  # one lost SYN is sent again after 1 s, a second after 3 s
    response_timeout_s: Duration = 10.0  # after it a part is uncertain, so rather long than short
    enquire_link_s: Duration = 30.0  # as for listener
    reconnect_min_s: Duration = 1.0  # the first pause after a loss; it doubles, with jitter,
    reconnect_max_s: Duration = 60.0  # up to this: a carrier that comes back is used within a minute
    # The first pause after ESME_RTHROTTLED; it doubles with each probe that is refused.  Rates are counted by
    # the second, so that a tenth loses little of one.
    throttle_pause_s: Duration = 0.1
    message_payload: bool = True  # it takes long texts whole; else the gateway cuts them into parts
    tlvs: bool = True  # it takes TLVs besides message_payload; else they are not sent on to it
    # Of a text that is counted here; a text comes in 255 at most (3GPP TS 23.040 §9.2.3.24.1).
    parts_max: Annotated[int, Meta(ge=1, le=255)] = 255
    source_ton: AddressOctet = AS_SUBMITTED
    source_npi: AddressOctet = AS_SUBMITTED
    destination_ton: AddressOctet = AS_SUBMITTED
    destination_npi: AddressOctet = AS_SUBMITTED
    # Of the passwords that it takes: SMPP 3.4 §5.2.2 says 8, and many a carrier takes more.
    password_octets_max: Annotated[int, Meta(ge=1, le=PASSWORD_OCTETS_MAX)] = PASSWORD_OCTETS_MAX
    # How it writes message ids in responses and in receipts, and where a receipt has its facts.  All of it is
    # read whatever stands here; what comes otherwise is shown by `jingxin status`.
    ids: IdForm = "any"
    receipt_ids: IdForm = "any"
    receipts: Literal["any", "text", "tlv"] = "any"
    receipt_timeout_h: Hours = 72  # carriers try a handset for at most three days

    def __post_init__(self) -> None:
        if self.burst == 0:
            msgspec.structs.force_setattr(self, "burst", self.rate_per_s)


class RouteTable(Struct, frozen=True, kw_only=True):
    """[[route]]: which carriers serve a network, in order of preference.

    weights: how they share the messages; one of weight 0 stands by until those before it are out of service.
    Absent, all share alike. A network without a route is served by the carriers that name it.
    """

    network: Network
    carriers: CarrierNames
    weights: Weights = ()


class CarrierConfig(CarrierTable, frozen=True, kw_only=True):
    """Our account at a carrier with its password."""

    password: Password


class Tables(Struct, frozen=True, kw_only=True):
    """What the file says. No password file has been looked at."""

    path: Path
    digest: str  # SHA-256 of the file, hexadecimal
    gateway: GatewayConfig
    listener: ListenerConfig
    http: HttpConfig
    evidence: EvidenceConfig
    limits: LimitsConfig
    numbers: NumbersConfig
    lanes: LanesConfig
    outcomes: OutcomesConfig
    replies: RepliesConfig
    settlement: SettlementConfig
    routes: tuple[RouteTable, ...]
    account_tables: tuple[AccountTable, ...]
    carrier_tables: tuple[CarrierTable, ...]


class Config(Tables, frozen=True, kw_only=True):
    """What a gateway runs with."""

    accounts: tuple[AccountConfig, ...]
    carriers: tuple[CarrierConfig, ...]


_TABLES: Final = (
    *("gateway", "listener", "http", "evidence", "limits", "numbers", "lanes", "outcomes", "replies"),
    *("settlement", "account", "carrier", "route"),
)


def load(path: Path) -> Config:
    """Reads the file and every password file. Raises ConfigError, whose message is one line."""
    tables = read(path)
    master_key_file(tables)
    accounts = tuple(
        AccountConfig(
            **msgspec.structs.asdict(table),
            password_hash=_secret(
                read_hash, path, f"account[{table.system_id}].password_file", table.password_file
            ),
        )
        for table in tables.account_tables
    )
    carriers = tuple(
        CarrierConfig(
            **msgspec.structs.asdict(table),
            password=_carrier_password(path, table),
        )
        for table in tables.carrier_tables
    )
    return Config(**msgspec.structs.asdict(tables), accounts=accounts, carriers=carriers)


def read(path: Path) -> Tables:
    """Reads the file alone. Raises ConfigError, whose message is one line."""
    octets, document = _parse(path)
    for name in document:
        if name not in _TABLES:
            raise ConfigError(f"{path}: {name}: unknown table: allowed are {', '.join(_TABLES)}")
    decoder = TableDecoder(path)
    tables = Tables(
        path=path,
        digest=hashlib.sha256(octets).hexdigest(),
        gateway=decoder.table(GatewayConfig, "gateway", document.get("gateway", {})),
        listener=decoder.table(ListenerConfig, "listener", document.get("listener", {})),
        http=decoder.table(HttpConfig, "http", document.get("http", {})),
        evidence=decoder.table(EvidenceConfig, "evidence", document.get("evidence", {})),
        limits=decoder.table(LimitsConfig, "limits", document.get("limits", {})),
        numbers=decoder.table(NumbersConfig, "numbers", document.get("numbers", {})),
        lanes=decoder.table(LanesConfig, "lanes", document.get("lanes", {})),
        outcomes=decoder.table(OutcomesConfig, "outcomes", document.get("outcomes", {})),
        replies=decoder.table(RepliesConfig, "replies", document.get("replies", {})),
        settlement=decoder.table(SettlementConfig, "settlement", document.get("settlement", {})),
        routes=decoder.tables(RouteTable, "route", "network", document.get("route", [])),
        account_tables=decoder.tables(AccountTable, "account", "system_id", document.get("account", [])),
        carrier_tables=decoder.tables(CarrierTable, "carrier", "name", document.get("carrier", [])),
    )
    _check_together(tables)
    return tables


def warnings_of(config: Config) -> Iterator[str]:
    """What is allowed and yet probably not meant."""
    if not config.accounts:
        yield "no [[account]]: nobody may bind"
    if not config.carriers:
        yield "no [[carrier]]: nothing can be sent"
    served = {carrier.network for carrier in config.carriers} | {route.network for route in config.routes}
    fallback = config.numbers.default_network
    unserved = [network for network in ("mobile", "unicom", "telecom", "broadnet") if network not in served]
    if config.carriers and unserved:
        way = f"their numbers go to {fallback}" if fallback in served else "their numbers are refused"
        yield f"no carrier for {', '.join(unserved)}: {way}"
    for account in config.accounts:
        if not account.networks.networks:
            yield f"account {account.system_id}: without networks nobody may bind"
        if not account.sources:
            yield f"account {account.system_id}: without sources nothing may be sent"


def master_key_file(tables: Tables) -> Path:
    """Where the master key lies. Raises ConfigError for a credential that is not here."""
    return _secret(located, tables.path, "evidence.master_key_file", tables.evidence.master_key_file)


def signing_key_file(tables: Tables) -> Path:
    """Where the key lies that signs checkpoints. Raises ConfigError for a credential that is not here."""
    given = tables.evidence.signing_key_file
    if given is None:
        return master_key_file(tables).with_name("signing")
    return _secret(located, tables.path, "evidence.signing_key_file", given)


def _parse(path: Path) -> tuple[bytes, dict[str, Any]]:
    try:
        octets = path.read_bytes()
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file: name the configuration with -c FILE") from error
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}: name a readable file with -c FILE") from error
    try:
        return octets, tomllib.loads(octets.removeprefix(codecs.BOM_UTF8).decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at octet {error.start}: save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error
    except ValueError as error:  # of a number: int() takes no more than some thousand digits
        raise ConfigError(f"{path}: a number with too many digits: none needs more than 10") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: nested too deeply: tables hold values and lists of them") from error


def _check_together(tables: Tables) -> None:
    """What no single key can tell."""
    path = tables.path
    _refuse_twice(path, "account", "system_id", [table.system_id for table in tables.account_tables])
    _refuse_twice(path, "carrier", "name", [table.name for table in tables.carrier_tables])
    _refuse_twice(path, "route", "network", [table.network for table in tables.routes])
    _check_names(tables)
    if (tables.listener.host, tables.listener.port) == (tables.http.host, tables.http.port):
        raise ConfigError(f"{path}: http.port: {tables.http.port} is listener.port too: give each its own")
    for carrier in tables.carrier_tables:
        if carrier.reconnect_min_s > carrier.reconnect_max_s:
            raise ConfigError(
                f"{path}: carrier[{carrier.name}].reconnect_min_s: {carrier.reconnect_min_s:g} is above"
                f" reconnect_max_s: allowed is at most {carrier.reconnect_max_s:g}"
            )
    if len(os.fsencode(tables.gateway.control_socket)) > SOCKET_PATH_OCTETS_MAX:
        raise ConfigError(
            f"{path}: gateway.state_dir: too long for the control socket in it: allowed are"
            f" {SOCKET_PATH_OCTETS_MAX - len('/control.sock')} octets"
        )


def _check_names(tables: Tables) -> None:
    """Whatever is named elsewhere in the file is there."""
    path = tables.path
    carriers = [table.name for table in tables.carrier_tables]
    for route in tables.routes:
        for name in route.carriers:
            if name not in carriers:
                raise ConfigError(
                    f"{path}: route[{route.network}].carriers: no carrier {name!r}: allowed are"
                    f" {', '.join(carriers) or 'none, there is no [[carrier]]'}"
                )
        _refuse_twice(path, f"route[{route.network}].carriers", "name", route.carriers)
        if route.weights and len(route.weights) != len(route.carriers):
            raise ConfigError(
                f"{path}: route[{route.network}].weights: {len(route.weights)} numbers: allowed is one for"
                f" each of the {len(route.carriers)} carriers"
            )
        if route.weights and not any(route.weights):
            raise ConfigError(f"{path}: route[{route.network}].weights: one of them must be above 0")
    accounts = [table.system_id for table in tables.account_tables]
    default = tables.replies.default_account
    if default and default not in accounts:
        raise ConfigError(
            f"{path}: replies.default_account: no account {default!r}: allowed are {', '.join(accounts)}"
        )


def _refuse_twice(path: Path, table: str, key: str, names: Sequence[str]) -> None:
    for name, times in Counter(names).items():
        if times > 1:
            raise ConfigError(f"{path}: {table}[{name}].{key}: stands {times} times: allowed is once")


Secret = TypeVar("Secret")


def _secret(reader: Callable[[Path], Secret], path: Path, where: str, file: Path) -> Secret:
    try:
        return reader(located(file))
    except (PasswordError, WrongValue) as error:
        raise ConfigError(f"{path}: {where}: {error}") from error


def _carrier_password(path: Path, table: CarrierTable) -> Password:
    where = f"carrier[{table.name}].password_file"
    password = _secret(_read_clear, path, where, table.password_file)
    if len(password) > table.password_octets_max:
        raise ConfigError(
            f"{path}: {where}: the password has {len(password)} octets: allowed by password_octets_max are"
            f" {table.password_octets_max}"
        )
    return password


def _read_clear(path: Path) -> Password:
    return read_clear(path, guarded=is_credential(path))
