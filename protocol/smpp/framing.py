"""Octets of a stream to whole PDUs.

A chunk from the socket is kept as it came and sliced; only a PDU that straddles two chunks makes octets be
copied, once. Chunks that cannot complete a PDU yet wait in a list and are joined when they can, so that a PDU
fed octet by octet costs no more than one fed whole.
"""

from struct import Struct

from protocol.smpp.errors import StreamError
from protocol.smpp.limits import FRAME_LENGTH_MAX, HEADER_OCTETS

_LENGTH = Struct(">I")
_LENGTH_OCTETS = _LENGTH.size


class FrameBuffer:
    """Feed octets, take frames. It holds what it was fed: its owner stops reading when `pending_octets` is
    high.

    The length of a PDU is judged as soon as its four octets are there, whatever follows: another protocol on
    this port would otherwise be waited for as a PDU of a gigabyte.
    """

    __slots__ = ("_chunks", "_chunks_octets", "_data", "_offset")

    def __init__(self) -> None:
        self._data = b""
        self._offset = 0
        self._chunks: list[bytes] = []
        self._chunks_octets = 0

    def feed(self, data: bytes) -> None:
        """Add octets from the stream, any number. Raises nothing: `take` judges."""
        if self._offset == len(self._data) and not self._chunks:
            self._data = data
            self._offset = 0
        else:
            self._chunks.append(data)
            self._chunks_octets += len(data)

    def take(self, limit: int) -> list[bytes]:
        """The next whole frames, at most `limit`, header included.

        Raises StreamError when the next length is below 16 or above FRAME_LENGTH_MAX, after the frames before
        it were given out, and again at every further call.
        """
        frames: list[bytes] = []
        data = self._data
        offset = self._offset
        end = len(data)
        unpack = _LENGTH.unpack_from
        while len(frames) < limit:
            needed = _LENGTH_OCTETS
            if end - offset >= needed:
                (needed,) = unpack(data, offset)
                if not HEADER_OCTETS <= needed <= FRAME_LENGTH_MAX:
                    if frames:
                        break
                    raise StreamError(f"a PDU announces {needed} octets")
                after = offset + needed
                if after <= end:
                    frames.append(data[offset:after])
                    offset = after
                    continue
            if end - offset + self._chunks_octets < needed:
                break
            data = b"".join((data[offset:], *self._chunks))
            self._chunks.clear()
            self._chunks_octets = 0
            self._data = data
            self._offset = offset = 0
            end = len(data)
        self._offset = offset
        return frames

    @property
    def ready(self) -> bool:
        """True when `take` has something to say: a whole frame, or that the stream is lost."""
        octets = self.pending_octets
        if octets < _LENGTH_OCTETS:
            return False
        head = self._data[self._offset : self._offset + _LENGTH_OCTETS]
        for chunk in self._chunks:
            if len(head) >= _LENGTH_OCTETS:
                break
            head += chunk[: _LENGTH_OCTETS - len(head)]
        (length,) = _LENGTH.unpack(head)
        return length <= octets or not HEADER_OCTETS <= length <= FRAME_LENGTH_MAX

    @property
    def pending_octets(self) -> int:
        """Octets fed and not yet taken."""
        return len(self._data) - self._offset + self._chunks_octets
