"""From where an account may bind: closed unless said, and the forms in which an address comes."""

import pytest

from gateway.networks import Networks

CASES = [
    ([], "127.0.0.1", False),
    (["127.0.0.1/32"], "127.0.0.1", True),
    (["127.0.0.1"], "127.0.0.1", True),
    (["127.0.0.1/32"], "127.0.0.2", False),
    (["10.0.0.0/8", "192.0.2.0/24"], "192.0.2.255", True),
    (["10.0.0.0/8"], "::ffff:10.1.2.3", True),
    (["10.0.0.0/8"], "[::ffff:11.1.2.3]", False),
    (["2001:db8::/32"], "2001:db8::1", True),
    (["2001:db8::/32"], "[2001:db8::1]", True),
    (["fe80::/10"], "fe80::1%eth0", True),
    (["0.0.0.0/0"], "2001:db8::1", False),
    (["0.0.0.0/0"], "gateway.example", False),
    (["0.0.0.0/0"], "", False),
]


@pytest.mark.parametrize(("networks", "address", "admitted"), CASES)
def test_admits(networks: list[str], address: str, admitted: bool) -> None:
    assert Networks(networks).admits(address) is admitted


@pytest.mark.parametrize("network", ["10.1.2.3/8", "10.0.0.0/33", "all", ""])
def test_what_is_no_network_is_refused(network: str) -> None:
    with pytest.raises(ValueError, match=r"host bits|appear to be"):
        Networks([network])


def test_equal_networks_are_equal() -> None:
    assert Networks(["10.0.0.0/8"]) == Networks(["10.0.0.0/8"])
    assert Networks(["10.0.0.0/8"]) != Networks()
    assert repr(Networks()) == "Networks(nobody)"
