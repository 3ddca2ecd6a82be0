"""The configuration: what the shortest and the full file give, and the one line for each wrong one."""
# ruff: noqa: E501  (a row of the case table holds a whole error line)

import hashlib
import json
import math
import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from gateway.config import (
    AS_SUBMITTED,
    AccountTable,
    CarrierTable,
    Config,
    EvidenceConfig,
    GatewayConfig,
    HttpConfig,
    LimitsConfig,
    ListenerConfig,
    NumbersConfig,
    Tables,
    load,
    read,
)
from gateway.config_table import ConfigError
from gateway.networks import Networks

LINE = (
    "scrypt$16384$8$1$U29kaXVtQ2hsb3JpZGVTb2RpdW1DaGxvcmlkZQ==$EHOhbCzVbsYSPN4402wajsB/ivjM7J6WIxbvOkgBUPI="
)

GATEWAY = """\
[gateway]
name = "hn-gw-1"
state_dir = "var/jingxin"
"""
EVIDENCE = """\
[evidence]
master_key_file = "secrets/master"
"""
ACCOUNT = """\
[[account]]
system_id = "hukou"
password_file = "secrets/hukou"
"""
CARRIER = """\
[[carrier]]
name = "cmcc"
network = "mobile"
host = "127.0.0.1"
port = 12775
system_id = "gw"
password_file = "secrets/cmcc"
"""
SHORTEST = GATEWAY + EVIDENCE + ACCOUNT + CARRIER
# Every key that the design fixes.
FIXED = f"""\
{GATEWAY}
[listener]
host = "127.0.0.1"
port = 2775
[http]
host = "127.0.0.1"
port = 9464
{EVIDENCE}
{ACCOUNT}
networks = ["127.0.0.1/32", "2001:db8::/32"]
sources = ["10639110"]
sessions_max = 8
window = 100
rate_per_s = 1000
{CARRIER}
sessions = 2
window = 64
rate_per_s = 500
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "hukou").write_text(LINE + "\n")
    (secrets / "cmcc").write_bytes(b"carrier secret\n")
    (secrets / "cmcc").chmod(0o600)
    return tmp_path


def loaded(directory: Path, text: str) -> Config:
    path = directory / "gw.toml"
    path.write_text(text)
    return load(path)


def refused(directory: Path, content: bytes) -> str:
    """The error line without the name of the file, which each must begin with."""
    path = directory / "gw.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as error:
        load(path)
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize("host", ["smsc.example", "10.1.2.3", "::1", "2001:db8::7", "fe80::1%eth0"])
def test_hosts_are_names_and_addresses(directory: Path, host: str) -> None:
    config = loaded(directory, SHORTEST.replace('"127.0.0.1"', f'"{host}"'))
    assert config.carriers[0].host == host


def test_a_byte_order_mark_is_no_part_of_the_file(directory: Path) -> None:
    path = directory / "gw.toml"
    path.write_bytes(b"\xef\xbb\xbf" + SHORTEST.encode())
    assert load(path).carriers[0].name == "cmcc"


def test_the_fixed_keys(directory: Path) -> None:
    config = loaded(directory, FIXED)
    account, carrier = config.accounts[0], config.carriers[0]
    assert (config.gateway.name, config.gateway.state_dir) == ("hn-gw-1", directory / "var/jingxin")
    assert config.gateway.evidence_dir == directory / "var/jingxin/evidence"
    assert config.gateway.control_socket == directory / "var/jingxin/control.sock"
    assert (config.listener.host, config.listener.port) == ("127.0.0.1", 2775)
    assert (config.http.host, config.http.port) == ("127.0.0.1", 9464)
    assert config.evidence.master_key_file == directory / "secrets/master"
    assert (account.system_id, account.password_hash) == ("hukou", LINE)
    assert account.networks == Networks(["127.0.0.1/32", "2001:db8::/32"])
    assert (account.sources, account.sessions_max, account.window) == (("10639110",), 8, 100)
    assert (account.rate_per_s, account.burst) == (1000, 1000)
    assert (carrier.name, carrier.network, carrier.host, carrier.port) == (
        "cmcc",
        "mobile",
        "127.0.0.1",
        12775,
    )
    assert (carrier.system_id, carrier.password) == ("gw", b"carrier secret")
    assert (carrier.sessions, carrier.window, carrier.rate_per_s, carrier.burst) == (2, 64, 500, 500)
    assert config.digest == hashlib.sha256((directory / "gw.toml").read_bytes()).hexdigest()


def test_the_defaults(directory: Path) -> None:
    config = loaded(directory, SHORTEST)
    account, carrier = config.accounts[0], config.carriers[0]
    assert (account.networks, account.sources) == (Networks(), ())
    assert (account.uncertain, account.report_window, account.report_retention_h) == ("wait", 100, 192)
    assert (account.rate_per_s, account.burst) == (100, 100)
    assert (carrier.bind, carrier.system_type, carrier.interface_version) == ("transceiver", "", 0x34)
    assert (carrier.response_timeout_s, carrier.enquire_link_s, carrier.receipt_timeout_h) == (10.0, 30.0, 72)
    assert (carrier.reconnect_min_s, carrier.reconnect_max_s, carrier.throttle_pause_s) == (1.0, 60.0, 0.1)
    assert (carrier.default_alphabet, carrier.connect_timeout_s) == ("gsm0338", 5.0)
    assert (carrier.ids, carrier.receipt_ids, carrier.receipts) == ("any", "any", "any")
    assert (carrier.source_ton, carrier.source_npi) == (AS_SUBMITTED, AS_SUBMITTED)
    assert (carrier.destination_ton, carrier.destination_npi) == (AS_SUBMITTED, AS_SUBMITTED)
    assert (carrier.tlvs, carrier.parts_max, carrier.password_octets_max) == (True, 255, 64)
    assert config.evidence.segment_mib == 256
    assert (config.listener.sessions_max, config.listener.inactivity_s) == (256, math.inf)
    limits = config.limits
    assert (limits.parts_open_max, limits.carrier_queue_max) == (1_000_000, 200_000)
    assert (limits.outbox_memory_max, limits.receipts_pending_max) == (10_000, 100_000)
    assert (config.numbers.default_network, config.numbers.reject_iot) == ("mobile", True)


def test_values_other_than_the_defaults(directory: Path) -> None:
    account = 'burst = 50\nuncertain = "resend"\nreport_window = 7\n'
    carrier = 'burst = 9\nbind = "receiver"\ninterface_version = 0x50\nresponse_timeout_s = 2\n'
    config = loaded(directory, GATEWAY + EVIDENCE + ACCOUNT + account + CARRIER + carrier)
    assert (config.accounts[0].burst, config.accounts[0].uncertain) == (50, "resend")
    assert config.accounts[0].report_window == 7
    assert (config.carriers[0].burst, config.carriers[0].bind) == (9, "receiver")
    assert (config.carriers[0].interface_version, config.carriers[0].response_timeout_s) == (0x50, 2.0)


def test_a_configuration_is_frozen_and_hides_the_password(directory: Path) -> None:
    config = loaded(directory, SHORTEST)
    with pytest.raises(AttributeError):
        config.carriers[0].rate_per_s = 1  # type: ignore[misc]
    assert "carrier secret" not in repr(config)


def test_read_looks_at_no_password_file(tmp_path: Path) -> None:
    path = tmp_path / "gw.toml"
    path.write_text(SHORTEST)
    tables = read(path)
    assert isinstance(tables, Tables)
    assert [table.system_id for table in tables.account_tables] == ["hukou"]


def test_read_leaves_a_credential_that_is_not_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    path = tmp_path / "gw.toml"
    path.write_text(SHORTEST.replace("secrets/cmcc", "credential:cmcc"))
    assert read(path).carrier_tables[0].password_file == Path("credential:cmcc")


def test_an_absolute_path_stays(directory: Path, tmp_path: Path) -> None:
    config = loaded(directory, SHORTEST.replace("secrets/master", str(tmp_path / "elsewhere")))
    assert config.evidence.master_key_file == tmp_path / "elsewhere"


def test_a_credential_of_systemd(directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "cmcc").write_bytes(b"from systemd")
    (credentials / "cmcc").chmod(0o440)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    config = loaded(directory, SHORTEST.replace("secrets/cmcc", "credential:cmcc"))
    assert config.carriers[0].password_file == credentials / "cmcc"
    assert config.carriers[0].password == b"from systemd"


NAME = "a name of at most 64 letters, digits and . _ -"
PATH = "a path, or credential:NAME of a systemd credential"
NETWORKS = 'a list of networks such as ["10.20.0.0/16"]'
SOURCES = 'a list of prefixes of 1 to 20 digits or letters, such as ["10639110"]'
SYSTEM_ID = "1 to 15 printable ASCII characters without spaces"
ACCOUNT_KEYS = (
    "system_id, password_file, networks, sources, sessions_max, window, rate_per_s, burst,"
    " uncertain, report_window, lanes, category, report_retention_h"
)
RATE = "a whole number from 1 to 100000"

HUKOU, CMCC = '"secrets/hukou"\n', '"secrets/cmcc"\n'  # the last lines of [[account]] and [[carrier]]

# what replaces what in the shortest file, and the error line
WRONG: list[tuple[str, str, str]] = [
    # the file as a whole
    (SHORTEST, "", f"gateway.name: missing: allowed is {NAME}"),
    (SHORTEST, "x = 1", "x: unknown table: allowed are gateway, listener, http, evidence, limits, numbers, lanes, outcomes, replies, settlement, account, carrier, route"),
    ("[gateway]", "[gateway", "not TOML: Expected ']' at the end of a table declaration (at line 1, column 9)"),
    (GATEWAY, "gateway = 1\n", "gateway: allowed is a table of keys and values"),
    ("[[account]]", "[account]", "account: allowed are tables that begin with [[account]]"),
    # unknown and missing keys
    ('name = "hn-gw-1"\n', "", f"gateway.name: missing: allowed is {NAME}"),
    ('state_dir = "var/jingxin"\n', "", f"gateway.state_dir: missing: allowed is {PATH}"),
    (EVIDENCE, "", f"evidence.master_key_file: missing: allowed is {PATH}"),
    ('"hukou"\n', '"hukou"\npassword = "x"\n', f"account[hukou].password: unknown key: allowed are {ACCOUNT_KEYS}"),
    ('"hukou"\n', '"hukou"\n"a\\nb" = 1\n', f"account[hukou].'a\\nb': unknown key: allowed are {ACCOUNT_KEYS}"),
    ('system_id = "hukou"\n', "", f"account[1].system_id: missing: allowed is {SYSTEM_ID}"),
    ('network = "mobile"\n', "", "carrier[cmcc].network: missing: allowed is one of mobile, unicom, telecom, broadnet"),
    # values
    ('"hn-gw-1"', '"a gateway"', f"gateway.name: allowed is {NAME}, not 'a gateway'"),
    ('"hn-gw-1"', "1", f"gateway.name: allowed is {NAME}, not 1"),
    ('"var/jingxin"', '""', f"gateway.state_dir: allowed is {PATH}, not ''"),
    ('"var/jingxin"', "true", f"gateway.state_dir: allowed is {PATH}, not true"),
    ('"var/jingxin"', f'"/{"d" * 94}"', "gateway.state_dir: too long for the control socket in it: allowed are 94 octets"),
    ("12775", "0", "carrier[cmcc].port: allowed is a whole number from 1 to 65535, not 0"),
    ("12775", "65536", "carrier[cmcc].port: allowed is a whole number from 1 to 65535, not 65536"),
    ("12775", '"12775"', "carrier[cmcc].port: allowed is a whole number from 1 to 65535, not '12775'"),
    ("12775", "true", "carrier[cmcc].port: allowed is a whole number from 1 to 65535, not true"),
    ('"mobile"', '"cmcc"', "carrier[cmcc].network: allowed is one of mobile, unicom, telecom, broadnet, not 'cmcc'"),
    ('"127.0.0.1"', '"a host"', "carrier[cmcc].host: allowed is a host name or an IP address, without port, not 'a host'"),
    ('"127.0.0.1"', '"127.0.0.1:12775"', "carrier[cmcc].host: allowed is a host name or an IP address, without port, not '127.0.0.1:12775'"),
    ('"gw"', '"sixteen_letters_"', f"carrier[cmcc].system_id: allowed is {SYSTEM_ID}, not 'sixteen_letters_'"),
    (HUKOU, HUKOU + 'rate_per_s = 0\n', f"account[hukou].rate_per_s: allowed is {RATE}, not 0"),
    (HUKOU, HUKOU + 'burst = 0\n', f"account[hukou].burst: allowed is {RATE}, not 0"),
    (CMCC, CMCC + 'rate_per_s = 0\n', f"carrier[cmcc].rate_per_s: allowed is {RATE}, not 0"),
    (CMCC, CMCC + 'rate_per_s = 0.5\n', f"carrier[cmcc].rate_per_s: allowed is {RATE}, not 0.5"),
    (CMCC, CMCC + 'window = -1\n', "carrier[cmcc].window: allowed is a whole number from 1 to 10000, not -1"),
    (CMCC, CMCC + 'response_timeout_s = 0\n', "carrier[cmcc].response_timeout_s: allowed is a number from 0.1 to 86400, not 0"),
    (CMCC, CMCC + 'response_timeout_s = nan\n', "carrier[cmcc].response_timeout_s: allowed is a number from 0.1 to 86400, not nan"),
    (CMCC, CMCC + 'source_ton = -1\n', "carrier[cmcc].source_ton: allowed is a whole number from 0 to 255, not -1"),
    (CMCC, CMCC + 'parts_max = 256\n', "carrier[cmcc].parts_max: allowed is a whole number from 1 to 255, not 256"),
    (CMCC, CMCC + 'password_octets_max = 65\n', "carrier[cmcc].password_octets_max: allowed is a whole number from 1 to 64, not 65"),
    (CMCC, CMCC + 'receipt_ids = "hex"\n', "carrier[cmcc].receipt_ids: allowed is one of any, decimal, hexadecimal, uuid, not 'hex'"),
    (CMCC, CMCC + 'interface_version = 0x40\n', "carrier[cmcc].interface_version: allowed is 0x33, 0x34 or 0x50, not 64"),
    (CMCC, CMCC + 'system_type = "thirteen_____"\n', "carrier[cmcc].system_type: allowed is at most 12 printable ASCII characters, not 'thirteen_____'"),
    (EVIDENCE, EVIDENCE + "[listener]\ninactivity_s = 0\n", "listener.inactivity_s: allowed is a number of seconds from 1, or inf for never, not 0"),
    (EVIDENCE, EVIDENCE + '[numbers]\nreject_iot = "yes"\n', "numbers.reject_iot: allowed is true or false, not 'yes'"),
    # allowlists
    (HUKOU, HUKOU + 'networks = "10.0.0.0/8"\n', f"account[hukou].networks: allowed is {NETWORKS}, not '10.0.0.0/8'"),
    (HUKOU, HUKOU + 'networks = ["10.1.2.3/8"]\n', f"account[hukou].networks: 10.1.2.3/8 has host bits set: allowed is {NETWORKS}"),
    (HUKOU, HUKOU + 'networks = ["all"]\n', f"account[hukou].networks: 'all' does not appear to be an IPv4 or IPv6 network: allowed is {NETWORKS}"),
    (HUKOU, HUKOU + 'networks = [10]\n', f"account[hukou].networks: allowed is {NETWORKS}, not [10]"),
    (HUKOU, HUKOU + 'sources = [""]\n', f"account[hukou].sources: allowed is {SOURCES}, not ['']"),
    (HUKOU, HUKOU + 'sources = "10639110"\n', f"account[hukou].sources: allowed is {SOURCES}, not '10639110'"),
    # keys that must agree
    (CARRIER, ACCOUNT + CARRIER, "account[hukou].system_id: stands 2 times: allowed is once"),
    (CARRIER, CARRIER * 3, "carrier[cmcc].name: stands 3 times: allowed is once"),
    (EVIDENCE, EVIDENCE + "[http]\nport = 2775\n", "http.port: 2775 is listener.port too: give each its own"),
    (CMCC, CMCC + 'reconnect_min_s = 61\n', "carrier[cmcc].reconnect_min_s: 61 is above reconnect_max_s: allowed is at most 60"),
    # secrets
    ("secrets/hukou", "secrets/nobody", "account[hukou].password_file: {directory}/secrets/nobody: no such file: make it, or correct password_file"),
    ("secrets/hukou", "secrets/cmcc", "account[hukou].password_file: {directory}/secrets/cmcc: not a scrypt line: make a new line with `jingxin account hash`"),
    ("secrets/cmcc", "secrets/hukou", "carrier[cmcc].password_file: {directory}/secrets/hukou: others than its owner may use it: run `chmod 600 {directory}/secrets/hukou`"),
    (CMCC, CMCC + 'password_octets_max = 8\n', "carrier[cmcc].password_file: the password has 14 octets: allowed by password_octets_max are 8"),
    ("secrets/cmcc", "credential:cmcc", "carrier[cmcc].password_file: credential:cmcc exists under systemd alone: give a path, or set CREDENTIALS_DIRECTORY to try it by hand"),
    ("secrets/master", "credential:master", "evidence.master_key_file: credential:master exists under systemd alone: give a path, or set CREDENTIALS_DIRECTORY to try it by hand"),
    ("secrets/cmcc", "credential:../cmcc", "carrier[cmcc].password_file: allowed is credential:NAME, not 'credential:../cmcc'"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "message"), WRONG)
def test_a_wrong_file_gives_one_line(
    directory: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, message: str
) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert old in SHORTEST
    text = SHORTEST.replace(old, new, 1)
    assert refused(directory, text.encode()) == message.format(directory=directory)


def test_the_longest_state_dir_passes(directory: Path) -> None:
    longest = f"/{'d' * 93}"
    config = loaded(directory, SHORTEST.replace("var/jingxin", longest))
    assert len(str(config.gateway.control_socket)) == 107


def test_a_file_that_is_not_utf_8(directory: Path) -> None:
    assert refused(directory, b'name = "\xff"') == "not UTF-8 at octet 8: save it as UTF-8"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"a = 1" + b"0" * 5_000, "a number with too many digits: none needs more than 10"),
        (b"a = " + b"[" * 3_000 + b"]" * 3_000, "nested too deeply: tables hold values and lists of them"),
    ],
    ids=["digits", "depth"],
)
def test_what_the_parser_of_toml_does_not_bear(content: bytes, reason: str, directory: Path) -> None:
    assert refused(directory, content) == reason


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "gw.toml"
    with pytest.raises(ConfigError) as error:
        load(path)
    assert str(error.value) == f"{path}: no such file: name the configuration with -c FILE"


def test_a_directory(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        load(tmp_path)
    assert str(error.value) == f"{tmp_path}: Is a directory: name a readable file with -c FILE"


ARRAYS: dict[str, type[msgspec.Struct]] = {"account": AccountTable, "carrier": CarrierTable}
TABLES: dict[str, type[msgspec.Struct]] = {
    "gateway": GatewayConfig,
    "listener": ListenerConfig,
    "http": HttpConfig,
    "evidence": EvidenceConfig,
    "limits": LimitsConfig,
    "numbers": NumbersConfig,
    **ARRAYS,
}


@pytest.mark.parametrize(
    ("table", "key"),
    [(table, field.name) for table, struct in TABLES.items() for field in msgspec.structs.fields(struct)],
)
def test_every_key_says_what_is_allowed(directory: Path, table: str, key: str) -> None:
    known = tomllib.loads(SHORTEST).get(table, {})
    content = {**(known[0] if table in ARRAYS else known), key: [[]]}
    entry = "{" + ", ".join(f"{name} = {json.dumps(value)}" for name, value in content.items()) + "}"
    others = {"gateway": GATEWAY, "evidence": EVIDENCE}
    text = f"{table} = [{entry}]\n" if table in ARRAYS else f"{table} = {entry}\n"
    text += "".join(other for name, other in others.items() if name != table)
    error = refused(directory, text.encode())
    assert re.fullmatch(rf"{table}(\[\w+\])?\.{key}: allowed is .+, not \[\[\]\]", error), error
