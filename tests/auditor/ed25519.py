"""Ed25519 by RFC 8032, verification alone, with whole numbers and nothing else. Slow and plain."""

from __future__ import annotations

import hashlib
from functools import lru_cache

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
ROOT_OF_MINUS_ONE = pow(2, (P - 1) // 4, P)

# x, y, z, t with x = X/Z, y = Y/Z, x*y = T/Z (section 5.1.4).
Point = tuple[int, int, int, int]
NEUTRAL: Point = (0, 1, 1, 0)


def add(one: Point, two: Point) -> Point:
    """The sum of two points."""
    a = (one[1] - one[0]) * (two[1] - two[0]) % P
    b = (one[1] + one[0]) * (two[1] + two[0]) % P
    c = 2 * one[3] * two[3] * D % P
    d = 2 * one[2] * two[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def sum_of_multiples(one: int, first: Point, two: int, second: Point) -> Point:
    """one * first + two * second, both in one run through the bits."""
    both = (NEUTRAL, first, second, add(first, second))
    total = NEUTRAL
    for place in range(max(one.bit_length(), two.bit_length()) - 1, -1, -1):
        total = add(total, total)
        choice = (one >> place & 1) + 2 * (two >> place & 1)
        if choice:
            total = add(total, both[choice])
    return total


def same(one: Point, two: Point) -> bool:
    """Whether two points are one."""
    return (one[0] * two[2] - two[0] * one[2]) % P == 0 and (one[1] * two[2] - two[1] * one[2]) % P == 0


@lru_cache(maxsize=4096)
def point_of(data: bytes) -> Point | None:
    """The point that 32 octets stand for, if they stand for one (section 5.1.3)."""
    if len(data) != 32:
        return None
    number = int.from_bytes(data, "little")
    odd, y = number >> 255, number & ((1 << 255) - 1)
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT_OF_MINUS_ONE % P
    if (x * x - square) % P or (x == 0 and odd):
        return None
    if x & 1 != odd:
        x = P - x
    return x, y, 1, x * y % P


BASE = point_of((4 * pow(5, -1, P) % P).to_bytes(32, "little")) or NEUTRAL


@lru_cache(maxsize=4096)
def verifies(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether this is a signature of the message by this key (section 5.1.7)."""
    if len(signature) != 64:
        return False
    key, commitment = point_of(public), point_of(signature[:32])
    scalar = int.from_bytes(signature[32:], "little")
    if key is None or commitment is None or scalar >= ORDER:
        return False
    digest = hashlib.sha512(signature[:32] + public + message).digest()
    challenge = int.from_bytes(digest, "little") % ORDER
    minus_key = (-key[0] % P, key[1], key[2], -key[3] % P)
    return same(sum_of_multiples(scalar, BASE, challenge, minus_key), commitment)
