"""The evidence log: one writer, group commit, rotation and recovery.

The loop's thread gathers records in an open batch and hands it over with `commit`. The writer thread writes
it as one frame, syncs, and posts one callback that releases all effects of the batch. While a batch is at the
writer the next one gathers; so batches clock themselves, and no timer is needed.

The order of writes is the design:

    batch      write the frame → sync → tell the loop. The next frame is written only after that sync, so only
    the
               last frame of the log can be unfinished.
    rotation   (1) a spare lies ready: zeros, synced, under its own name
               (2) header into the spare → sync       a crash here leaves a spare, whose header is overwritten
               later
               (3) rename to its number               a crash here leaves either name: a spare, or an empty
               segment
               (4) sync the directory                 a crash here leaves an empty last segment
               (5) first frame → sync → tell the loop
               (6) cut the zeros off the old segment  a crash here leaves it longer than it need be
               Nothing in the new segment counts before (4), and everything in the old one was synced before
               (2).
    recovery   check all that a restart needs → write nothing before the check has passed → write the last
    frame
               again and zero a torn tail → sync → sync the directory → serve

Why the last frame is written again: it may come from a process whose sync failed. The kernel then holds it in
memory and calls it clean, so that another sync would succeed and save nothing; written again, it is dirty
again. It is kept and not cut, because it is whole: nobody was told of it, and records nobody was told of do
no harm (an acceptance that was not answered ends as any other does).

When the disk is full, the current segment is full and there is no spare, the writer waits, inside `commit`'s
other half, for the spare. Nothing of that batch or later ones is answered and nothing is lost; `has_room` has
been False since the last try to zero a spare failed, or an eighth of the segment before its end if zeroing is
merely slow.
"""

from __future__ import annotations

import hashlib
import os
import queue
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from storage.durable import DISK, Disk, make_directory
from storage.errors import CorruptEvidence, DurabilityLost, EvidenceError, LogInUse, LogRefused, NoRoom
from storage.lock import lock_file
from storage.reader import DurableMark, LogReader
from storage.records import RECORD_OCTETS_MAX, encode
from storage.records import TornTail as TornTailRecord
from storage.recovery import Tail, examine
from storage.seal import Sealer, day_of, next_midnight_us
from storage.segment import (
    FIRST_INDEX,
    FRAME_HEADER_OCTETS,
    LENGTH,
    NO_HASH,
    PAYLOAD_OCTETS_MAX,
    SEGMENT_HEADER_OCTETS,
    SEGMENT_OCTETS_MIN,
    SegmentHeader,
    TornTail,
    encode_frame_header,
    encode_segment_header,
    frame_seed,
    segment_path,
)
from storage.spare import Spares

CAP_OCTETS: Final = 256 << 20  # in operation: a quarter of a million full-size messages, replayed in a second
# The very first segment of a log is zeroed while somebody waits for the start; 64 MiB take 0.1 s and last
# longer than it takes to zero the second.
_FIRST_SEGMENT_OCTETS: Final = 64 << 20
# has_room turns False when less than this share of the segment is left and no spare is ready.
_RESERVE_SHARE: Final = 8

# A record always fits into an empty segment, or a batch could wait for ever.
assert SEGMENT_HEADER_OCTETS + FRAME_HEADER_OCTETS + LENGTH.size + RECORD_OCTETS_MAX <= SEGMENT_OCTETS_MIN

_length = LENGTH.pack


class _Batch(msgspec.Struct, gc=False):
    payload: bytes
    crc: int
    first_index: int
    count: int
    low_water: int  # for the header of a segment that begins with this batch


class EvidenceLog:
    """The one writer of an evidence directory.

    Life: construct, `recover()`, `replay(...)`, then append and commit, `close()`. All of it, and all
    callbacks, on the loop's thread; only `post` and `on_failure`'s posting are called from threads.
    """

    def __init__(
        self,
        directory: Path,
        sealer: Sealer | None,
        cap_octets: int,
        low_water: Callable[[], int],
        post: Callable[[Callable[[], None]], None],
        on_durable: Callable[[object], None],
        on_failure: Callable[[BaseException], None],
        *,
        clock_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        disk: Disk = DISK,
    ) -> None:
        """Takes the directory's lock, makes the directory when missing. Raises LogInUse.

        `sealer`: gets a fresh data key at recovery and each midnight; None: content is not sealed (tests).
        `cap_octets`: size of a segment, at least 1 MiB; CAP_OCTETS in operation.
        `low_water`: index of the oldest record that a restart would still need once everything appended so
        far is durable; asked at each commit, so it must be cheap.
        `post`: runs its argument on the loop's thread soon, callable from any thread
        (`loop.call_soon_threadsafe`).
        `on_durable`: gets the effects of each commit once its batch is on disk, in order.
        `on_failure`: the disk failed; the process must end. Called at most once.
        """
        make_directory(directory)
        self.directory = directory
        self.torn: TornTailRecord | None = None  # what recovery cut, if anything
        self._sealer = sealer
        self._low_water = low_water
        self._post = post
        self._on_durable = on_durable
        self._on_failure = on_failure
        self._clock_us = clock_us
        self._disk = disk
        self._lock = _lock(directory)
        self._mark = DurableMark(directory, writable=True)
        self._spares = Spares(directory, cap_octets, disk, self._fail)
        self._failure_lock = threading.Lock()
        self._failure: BaseException | None = None
        self._refusal: BaseException | str | None = "it is not recovered yet"
        self._closing = False

        # The loop's side.
        self.next_index = FIRST_INDEX  # what the next append() returns; seal content with it
        self.busy = False  # a batch is at the writer: commit() must wait for on_durable
        self.durable_index = 0  # index of the last durable record; 0: none
        self.batch_records = 0  # of the last durable batch
        self.sync_s = 0.0  # how long its sync took
        self._parts: list[bytes] = []
        self._first_pending = FIRST_INDEX
        self._effects: object = None
        self._recovered_next = FIRST_INDEX
        self._midnight_us = 0
        self._turn = False  # begin a new segment when a spare is ready; the writer takes it back
        # Low-water of the batch in flight, and of what is durable. Only the latter may go into a header: the
        # former counts on records that a crash can still take away.
        self._low_water_in_flight = FIRST_INDEX
        self._low_water_durable = FIRST_INDEX

        # The writer's side; `_offset` and `_size` are read by has_room as well.
        self._batches: queue.SimpleQueue[_Batch | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._run, name="evidence-writer", daemon=True)
        self._descriptor = -1
        self._path = directory
        self._segment_first = 0
        self._identity = b""
        self._seed = 0
        self._offset = 0
        self._size = 0
        self._last_hash = NO_HASH
        self._unhashed: tuple[bytes, bytes] | None = None  # the last frame, until its hash is needed
        self._written_next = FIRST_INDEX

    # Start

    def recover(self) -> int:
        """Check the log, cut a torn tail, open it for appending; returns the index to `replay` from.

        May leave records in the open batch (TornTail, KeyOpened): they are first in the first commit. Raises
        CorruptEvidence (nothing was changed), NoRoom (no space for the first segment or the data key),
        DurabilityLost.
        """
        tail = examine(self.directory)
        marked = self._mark.get()
        if tail is None:
            if marked > FIRST_INDEX:
                reason = f"the mark says {marked - 1} records were durable, and there is no segment"
                raise CorruptEvidence(self.directory, 0, reason)
            self._begin()
        else:
            self._resume(tail)
        self._mark.set(self.next_index)
        self._first_pending = self._written_next = self.next_index
        self.durable_index = self.next_index - 1
        self._refusal = None
        now_us = self._clock_us()
        if tail is not None:
            self._report_torn(tail, max(0, marked - self.next_index), now_us)
            if day_of(tail.header.created_us) != day_of(now_us):
                self.rotate()
        self._turn_day(now_us)
        self._spares.start()
        self._writer.start()
        return self._low_water_durable

    def replay(self, from_index: int) -> Iterator[tuple[int, bytes]]:
        """(index, record) of everything that was durable when `recover` ended, from an index on."""
        with LogReader(self.directory) as reader:
            yield from reader.records(from_index, self._recovered_next)

    def _begin(self) -> None:
        if not self._spares.ready:
            self._spares.make(_FIRST_SEGMENT_OCTETS)
        self._identity = os.urandom(16)
        self._seed = frame_seed(self._identity)
        self._begin_segment(FIRST_INDEX, FIRST_INDEX)

    def _resume(self, tail: Tail) -> None:
        self._identity = tail.header.identity
        self._seed = frame_seed(self._identity)
        self._segment_first = tail.header.first_index
        self._path = segment_path(self.directory, self._segment_first)
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        self._offset = tail.offset
        self._size = tail.size
        self._last_hash = tail.chain.last_hash
        self.next_index = self._recovered_next = tail.chain.next_index
        self._low_water_durable = self._low_water_in_flight = tail.header.low_water
        if (frame := tail.last_frame) is not None:
            again = frame.data[frame.start : frame.stop]
            self._disk.write_at(self._path, self._descriptor, (again,), frame.offset)
        if tail.torn is not None:
            self._disk.write_at(self._path, self._descriptor, (bytes(tail.torn.octets),), tail.torn.offset)
        self._disk.sync_data(self._path, self._descriptor)
        self._disk.sync_directory(self.directory)

    def _report_torn(self, tail: Tail, lost: int, now_us: int) -> None:
        if tail.torn is None and not lost:
            return
        torn = tail.torn if tail.torn is not None else TornTail(tail.offset, 0)
        self.torn = TornTailRecord(now_us, tail.header.first_index, torn.offset, torn.octets, lost)
        self.append(encode(self.torn))

    def _turn_day(self, now_us: int) -> None:
        if self._sealer is not None:
            self.append(encode(self._sealer.open_key(now_us)))
        self._midnight_us = next_midnight_us(now_us)

    # The loop's side

    @property
    def identity(self) -> bytes:
        """16 octets that tell this log from every other; known once `recover` has returned."""
        return self._identity

    @property
    def recovered_index(self) -> int:
        """The last record that the processes before this one have left; known once `recover` has returned."""
        return self._recovered_next - 1

    @property
    def pending(self) -> int:
        """Records in the open batch."""
        return self.next_index - self._first_pending

    @property
    def has_room(self) -> bool:
        """False: take no new messages. What is left of the segment is for the outcomes of those accepted."""
        spares = self._spares
        if self._refusal is not None:
            return False
        return spares.ready or (spares.roomy and (self._size - self._offset) * _RESERVE_SHARE > self._size)

    def append(self, record: bytes) -> int:
        """Put an encoded record (at most RECORD_OCTETS_MAX octets) into the open batch; returns its index.

        Durable only when `on_durable` gets the effects of the commit that takes it along. Raises LogRefused.
        """
        if self._refusal is not None:
            raise self._refused()
        octets = len(record)
        assert 0 < octets <= RECORD_OCTETS_MAX
        parts = self._parts
        parts.append(_length(octets))
        parts.append(record)
        index = self.next_index
        self.next_index = index + 1
        return index

    def commit(self, effects: object) -> None:
        """Hand the open batch to the writer; `on_durable(effects)` follows when it is on disk.

        Only while not `busy` and with a record pending. Raises LogRefused.
        """
        if self._refusal is not None:
            raise self._refused()
        assert not self.busy
        assert self._parts
        self.busy = True
        self._effects = effects
        self._batches.put(self._take_batch())

    def _take_batch(self) -> _Batch:
        # Joined and summed here, not in the writer: the work costs the same (one interpreter lock), and the
        # writer then needs the lock less often between a commit and its answer.
        payload = b"".join(self._parts)
        self._parts.clear()
        batch = _Batch(
            payload, zlib.crc32(payload), self._first_pending, self.pending, self._low_water_durable
        )
        self._first_pending = self.next_index
        self._low_water_in_flight = self._low_water()
        assert FIRST_INDEX <= self._low_water_in_flight <= self.next_index
        return batch

    def _on_written(self) -> None:
        if self._closing:
            return
        try:
            self._mark.set(self._written_next)
        except DurabilityLost as failure:
            self._fail(failure)
            return
        self.batch_records = self._written_next - 1 - self.durable_index
        self.durable_index = self._written_next - 1
        self._low_water_durable = self._low_water_in_flight
        effects, self._effects = self._effects, None
        self.busy = False
        self._on_durable(effects)

    def tick(self) -> None:
        """Call once a second: at midnight in Asia/Shanghai begins a new data key and a new segment.

        May leave a record pending (KeyOpened), which the next commit takes along.
        """
        now_us = self._clock_us()
        if now_us < self._midnight_us or self._refusal is not None:
            return
        try:
            self._turn_day(now_us)
        except NoRoom:
            return  # yesterday's key goes on until there is room for today's: better than no service
        except DurabilityLost as failure:
            self._fail(failure)
            return
        self.rotate()

    def rotate(self) -> None:
        """Begin a new segment with the next commit, or with the first that finds a spare ready."""
        self._turn = True

    def close(self) -> None:
        """Write what is pending, wait for the disk, stop the threads, give the lock back.

        For good, also after a failure. No callback is called any more, so commit what has effects, and wait
        for them, before. Raises NoRoom when the disk is full and there is no space for the pending records,
        which nobody was told of, and DurabilityLost when writing them failed.
        """
        failed_before = self._failure is not None
        if self._parts and self._refusal is None:
            self._batches.put(self._take_batch())
        self._closing = True
        if self._refusal is None:
            self._refusal = "it is closed"
        self._batches.put(None)
        while self._writer.is_alive():
            self._writer.join(0.1)
            if self._failure is not None or not self._spares.roomy:
                self._spares.stop()  # the writer may be waiting for room that does not come
        self._spares.stop()
        if self._lock < 0:
            return  # closed before
        if self._descriptor >= 0:
            os.close(self._descriptor)
            if self._writer.ident is not None and self._failure is None:
                self._mark.set(self._written_next)
        self._mark.close()
        os.close(self._lock)
        self._lock = -1
        if self._failure is not None and not failed_before:
            raise self._failure

    def _refused(self) -> LogRefused:
        return LogRefused(f"the evidence log takes nothing more: {self._refusal}")

    def _fail(self, failure: BaseException) -> None:
        """From any thread: nothing is taken, written or answered after this."""
        with self._failure_lock:
            first, self._failure = self._failure is None, self._failure or failure
            self._refusal = self._failure
        if first and not self._closing:
            self._post(partial(self._on_failure, failure))

    # The writer's side

    def _run(self) -> None:
        try:
            while (batch := self._batches.get()) is not None:
                if self._failure is not None:
                    return  # the spare thread met a failing disk
                self._write(batch)
                if not self._closing:
                    # The moment of commitment: the batch is on disk, and from here on its answers may leave.
                    self._post(self._on_written)
                self._hash_last_frame()
        except (EvidenceError, OSError) as failure:
            self._fail(failure)
        except BaseException as fault:  # ours: a writer that is gone must not look like one that is slow
            self._fail(fault)
            raise

    def _write(self, batch: _Batch) -> None:
        """Returns when all of the batch is on disk: as one frame, or several where one has no room."""
        if self._turn and self._spares.ready:
            self._turn = False
            if self._offset > SEGMENT_HEADER_OCTETS:
                self._turn_segment(batch.first_index, batch.low_water)
        payload = batch.payload
        if len(payload) <= min(self._size - self._offset - FRAME_HEADER_OCTETS, PAYLOAD_OCTETS_MAX):
            self._write_frame(payload, batch.crc, batch.first_index, batch.count)
            return
        index, start = batch.first_index, 0
        while start < len(payload):
            room = min(self._size - self._offset - FRAME_HEADER_OCTETS, PAYLOAD_OCTETS_MAX)
            count, stop = _fitting(payload, start, room)
            if count:
                piece = payload[start:stop]
                self._write_frame(piece, zlib.crc32(piece), index, count)
                index, start = index + count, stop
            else:
                self._turn_segment(index, batch.low_water)

    def _write_frame(self, payload: bytes, crc: int, first_index: int, count: int) -> None:
        self._hash_last_frame()
        time_us = self._clock_us()
        header = encode_frame_header(
            self._seed, count, first_index, time_us, self._last_hash, len(payload), crc
        )
        self._disk.write_at(self._path, self._descriptor, (header, payload), self._offset)
        began = time.perf_counter()
        self._disk.sync_data(self._path, self._descriptor)
        self.sync_s = time.perf_counter() - began
        self._offset += len(header) + len(payload)
        self._written_next = first_index + count
        self._unhashed = (header, payload)

    def _hash_last_frame(self) -> None:
        # Not before the sync: only the next frame needs the hash, so it is made while the loop sends the
        # answers.
        if self._unhashed is not None:
            header, payload = self._unhashed
            self._unhashed = None
            state = hashlib.sha256(header)
            state.update(payload)
            self._last_hash = state.digest()

    def _turn_segment(self, first_index: int, low_water: int) -> None:
        if not self._spares.wait():
            raise NoRoom(
                f"{self.directory}: the disk is full; records from {first_index} on could not be written"
            )
        self._hash_last_frame()
        self._begin_segment(first_index, low_water)

    def _begin_segment(self, first_index: int, low_water: int) -> None:
        """Steps (2) to (6) of a rotation; the spare lies ready."""
        spare, path = self._spares.path, segment_path(self.directory, first_index)
        assert not path.exists()
        descriptor = os.open(spare, os.O_RDWR | os.O_CLOEXEC)
        header = SegmentHeader(
            self._identity, self._last_hash, first_index, self._segment_first, self._clock_us(), low_water
        )
        self._disk.write_at(spare, descriptor, (encode_segment_header(header),), 0)
        self._disk.sync_data(spare, descriptor)
        self._disk.rename(spare, path)
        self._disk.sync_directory(self.directory)
        self._spares.taken()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._spares.trim(self._path, self._offset)
        self._descriptor = descriptor
        self._path = path
        self._segment_first = first_index
        self._offset = SEGMENT_HEADER_OCTETS
        self._size = os.fstat(descriptor).st_size


def _fitting(payload: bytes, start: int, room: int) -> tuple[int, int]:
    """How many records from `start` fit into `room` octets, and where the last of them ends."""
    count, stop = 0, start
    while stop < len(payload):
        end = stop + LENGTH.size + LENGTH.unpack_from(payload, stop)[0]
        if end - start > room:
            break
        count, stop = count + 1, end
    return count, stop


def _lock(directory: Path) -> int:
    try:
        return lock_file(directory / "lock")
    except BlockingIOError as taken:
        raise LogInUse(f"{directory} is in use by another process") from taken
