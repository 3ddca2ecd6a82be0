"""Messages of subscribers (上行): recorded, routed to an account, joined from their parts, read for opt-outs.

Every part is on disk before its carrier is answered, whatever becomes of it.  A part of a longer message
waits in the reassembly, and an `assembled` record says when the application hears of all of them, be they
complete or not.  A reply that no account can be found for is recorded as unrouted, counted, and said (field
lesson 15).  The account of one whose parts come slowly may leave the configuration: it is chosen anew then.

Alarms by text (12110) pass none of this: they are neither joined nor read, and go on part by part as they
come, since a person in danger must not wait for a lost part (china: 3.4).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import structlog

from gateway.account import Account
from gateway.carrier import Carrier
from gateway.commitment import Commitment
from gateway.config import RepliesConfig
from gateway.downstream import Link
from gateway.number_directory import NumberDirectory
from gateway.number_plan import mask, normalise
from gateway.opt_out import OptOutWords, is_alarm
from gateway.reassembly import Assembly, Reassembly, ReplyKey, ReplyPart, Source, part_in
from gateway.reply_routes import ReplyRoutes
from gateway.reports import Reports
from gateway.turns import Turns
from protocol.alphabet import Alphabet, AlphabetError, decode
from protocol.smpp.pdu import DataSm, DeliverSm
from protocol.udh import Concatenation
from storage import records
from storage.log import EvidenceLog
from storage.records import encode
from storage.seal import Sealer

logger = structlog.get_logger()

# Long replies that wait for parts: subscribers write few of them, and 2,000 of three parts are 6 MB.  Beyond
# it the oldest goes on without its missing parts.
OPEN_MAX: Final = 2_000


class Replies:
    """Takes what subscribers write.  Owned by the event loop."""

    def __init__(
        self,
        turns: Turns,
        log: EvidenceLog,
        commitment: Commitment,
        sealer: Sealer,
        accounts: Mapping[str, Account],
        directory: NumberDirectory,
        reports: Reports,
        config: RepliesConfig,
    ) -> None:
        """accounts: those that are configured, by name; it may change, with a call of `configure` behind."""
        self.reports = reports
        self.unrouted = 0
        self.incomplete = 0
        self._turns = turns
        self._log = log
        self._commitment = commitment
        self._sealer = sealer
        self._accounts = accounts
        self._directory = directory
        self._words = OptOutWords()
        self.routes = ReplyRoutes(
            {account.name: account.sources for account in accounts.values()},
            config.default_account,
            config.last_message_h,
            config.remembered_max,
        )
        self._reassembly = Reassembly(config.part_timeout_s, OPEN_MAX)

    def configure(self, config: RepliesConfig) -> None:
        """Other accounts, another default; what is remembered and what waits stays."""
        self.routes.configure(
            {account.name: account.sources for account in self._accounts.values()},
            config.default_account,
            config.last_message_h,
        )

    # -- who wrote to whom ----------------------------------------------------------------------------------

    def recall(self, accepted: Iterable[records.Accepted]) -> None:
        """At the start: what was accepted lately, oldest first."""
        for record in accepted:
            if record.account in self._accounts:
                self.routes.sent(record.number_hash, record.account, record.time_us)

    # -- one PDU --------------------------------------------------------------------------------------------

    def take(self, link: Link, pdu: DeliverSm | DataSm, frame: bytes) -> None:
        """A reply, or a part of one, came from a carrier.

        Raises PduError, before anything is recorded, for one that no application could be sent.
        """
        now_us = self._turns.now_us
        index = self._log.next_index
        report = self.reports.of_reply(pdu, frame, index, now_us)
        number_hash = self._hash_of(pdu)
        account, how = self._choose(pdu.destination_addr, number_hash)
        place, text, _ = part_in(pdu)
        alarm = is_alarm(pdu.destination_addr)
        # Parts of nobody could be anybody's, so they are not joined.
        long = place is not None and place.total > 1 and bool(pdu.source_addr)
        waits = long and not alarm and account is not None
        self._log.append(
            encode(
                records.Reply(
                    now_us,
                    "" if account is None else account.name,
                    link.carrier_name,
                    link.index,
                    number_hash,
                    self._sealer.seal(index, frame),
                    how,
                    waits,
                )
            )
        )
        if account is None:
            self._note_unrouted(pdu, index)
        elif waits:
            self._wait(link.carrier, account.name, index, now_us, pdu, self._turns.now)
            self.look()  # another one may have had to give way
        else:
            self._commitment.report(account, report)
            if not alarm:
                alphabet = link.carrier.default_alphabet
                self._read(text, pdu.data_coding, alphabet, number_hash, account, index)

    def _choose(self, destination: bytes, number_hash: bytes) -> tuple[Account | None, str]:
        """The account that hears a reply, and by which rule; None if there is none."""
        name, how = self.routes.choose(destination, number_hash, self._turns.now_us)
        account = self._accounts.get(name)
        return account, "unrouted" if account is None else how

    def _hash_of(self, pdu: DeliverSm | DataSm) -> bytes:
        """The keyed hash of the subscriber's number; empty if he has none that a message could go to."""
        number = normalise(pdu.source_addr)
        return self._directory.number_hash(number) if number else b""

    def _note_unrouted(self, pdu: DeliverSm | DataSm, index: int) -> None:
        self.unrouted += 1
        logger.warning("unrouted reply", number=mask(pdu.source_addr), record=index)

    # -- parts ----------------------------------------------------------------------------------------------

    def _wait(
        self, carrier: Carrier, account: str, index: int, now_us: int, pdu: DeliverSm | DataSm, began: float
    ) -> None:
        key, place, text = key_of(carrier.name, pdu)
        part = ReplyPart(index, now_us, place.sequence, text)
        source = Source(account, carrier.default_alphabet, pdu)
        whole = self._reassembly.add(key, place.total, part, began, source)
        if whole is not None:
            self._emit(whole)

    def restore(self, carrier: Carrier, index: int, record: records.Reply, pdu: DeliverSm | DataSm) -> None:
        """At the start: a part that was waiting when the last process ended, in the order of the records.

        What is overdue by now goes on with the next look, when all of its parts are here.
        """
        age_s = (self._turns.now_us - record.time_us) * 1e-6
        self._wait(carrier, record.account, index, record.time_us, pdu, self._turns.now - age_s)

    def look(self) -> None:
        """Send on what nobody waits for any longer, flagged; call it once a second."""
        for assembly in self._reassembly.overdue(self._turns.now):
            self.incomplete += 1
            logger.warning("incomplete reply", missing=len(assembly.missing), reason=assembly.ended)
            self._emit(assembly)

    def _emit(self, assembly: Assembly) -> None:
        """One report for all that came."""
        now_us = self._turns.now_us
        missing = len(assembly.missing)
        head = assembly.source
        assert head is not None, "each part came with one"
        number_hash = self._hash_of(head.pdu)
        account = self._accounts.get(head.account)
        if account is None:  # it has left the configuration since
            account, _ = self._choose(head.pdu.destination_addr, number_hash)
        in_order = [assembly.parts[sequence].index for sequence in sorted(assembly.parts)]
        in_order += assembly.repeats
        name = "" if account is None else account.name
        repeats = len(assembly.repeats)
        index = self._log.append(encode(records.Assembled(now_us, name, in_order, missing, repeats)))
        if account is None:
            self._note_unrouted(head.pdu, index)
            return
        self._commitment.report(account, self.reports.of_assembly(assembly, head.pdu, index, now_us))
        if not missing:  # what is missing could make the word a part of a sentence
            text, reply = assembly.joined(), assembly.head.index
            self._read(text, head.pdu.data_coding, head.alphabet, number_hash, account, reply)

    def oldest(self) -> int | None:
        """The oldest record that a restart needs for what waits here."""
        return self._reassembly.oldest()

    # -- opt-outs -------------------------------------------------------------------------------------------

    def _read(
        self,
        text: bytes,
        data_coding: int,
        alphabet: Alphabet,
        number_hash: bytes,
        account: Account,
        reply: int,
    ) -> None:
        """Whether a whole reply is an opt-out, or takes one back; what it is, its account hears all the
        same.  One from no number changes nothing: nobody can write there."""
        if not number_hash:
            return
        try:
            verdict = self._words.judge(decode(text, data_coding, alphabet))
        except AlphabetError:
            return
        if not verdict:
            return
        record = records.OptedOut(self._turns.now_us, number_hash, account.name, verdict == "out", reply)
        self._directory.note(self._log.append(encode(record)), record)


def key_of(carrier: str, pdu: DeliverSm | DataSm) -> tuple[ReplyKey, Concatenation, bytes]:
    """Whose message a part is of, which part it is, and its text."""
    place, text, _ = part_in(pdu)
    assert place is not None, "it was taken for a part when it was recorded"
    subscriber = normalise(pdu.source_addr) or pdu.source_addr
    key = ReplyKey(carrier, subscriber, pdu.destination_addr, place.kind, place.reference)
    return key, place, text
