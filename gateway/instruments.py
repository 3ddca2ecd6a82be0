"""Which of the gateway's numbers Prometheus sees, and under which names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from gateway.account import Account
from gateway.carrier import Carrier
from gateway.commitment import Commitment
from gateway.dispatch import Dispatch
from gateway.lanes import LANE_NAMES
from gateway.ledger_progress import LedgerProgress
from gateway.metrics import Metrics
from gateway.number_directory import NumberDirectory
from gateway.open_parts import OpenParts
from gateway.pipeline import Pipeline
from gateway.tally import OTHER
from protocol.smpp.codes import MessageState, status_name
from storage.log import EvidenceLog

Labels = tuple[str, ...]

_STATE_NAMES = {int(state): state.name.lower() for state in MessageState}


def register(
    metrics: Metrics,
    accounts: Mapping[str, Account],
    dispatch: Dispatch,
    open_parts: OpenParts,
    commitment: Commitment,
    pipeline: Pipeline,
    log: EvidenceLog,
    ledger: LedgerProgress,
) -> None:
    """Register everything.  The callbacks run in the scraping thread and copy what the loop changes."""

    def behind(progress: Callable[[], int]) -> Callable[[], int]:
        def records() -> int:
            done = progress()  # before the other, which grows meanwhile
            return log.durable_index - done

        return records

    carriers = dispatch.carriers
    _messages(metrics, accounts, carriers)
    _levels(metrics, accounts, carriers, open_parts, log)
    _numbers(metrics, pipeline.directory)
    metrics.expose_histogram(
        "jingxin_submit_response_seconds",
        "From reading a submit_sm to answering it, the evidence being durable in between.",
        commitment.submit_to_response,
    )
    metrics.expose_histogram(
        "jingxin_carrier_response_seconds",
        "From the intent to send a part to the carrier's response.",
        pipeline.dispatch_to_response,
    )
    metrics.expose_histogram(
        "jingxin_submit_receipt_seconds",
        "From accepting a part to its final receipt.",
        pipeline.receipts.submit_to_receipt,
    )
    metrics.expose_histogram(
        "jingxin_report_seconds",
        "From a receipt or reply to the application's answer to it.",
        pipeline.reporting.receipt_to_report,
    )
    metrics.expose_histogram(
        "jingxin_evidence_commit_seconds",
        "From handing a batch to the writer to its release, the sync included.",
        commitment.commit_to_release,
    )
    metrics.counter_family(
        "jingxin_evidence_records_total",
        "Records that are durable.",
        (),
        lambda: {(): log.durable_index},
    )
    metrics.gauge(
        "jingxin_evidence_unsigned_records",
        "Durable records that no checkpoint speaks of yet: one second's, while a ledger runs.",
        behind(ledger.signed),
    )
    metrics.gauge(
        "jingxin_ledger_missing_records",
        "Durable records that are not in the ledger's tables yet: some seconds', while a ledger runs.",
        behind(ledger.tabled),
    )
    metrics.gauge_family(
        "jingxin_contract_alarm",
        "1 for each threshold of the contract that is near.",
        ("alarm",),
        lambda: {(alarm.name,): 1.0 for alarm in ledger.alarms()},
    )
    metrics.expose_histogram("jingxin_evidence_sync_seconds", "The fdatasync of a batch.", commitment.sync)
    metrics.expose_histogram(
        "jingxin_evidence_batch_records", "Records in a batch.", commitment.batch_records
    )
    metrics.counter_family(
        "jingxin_replies_unrouted_total",
        "Replies that no account's source prefix matches.",
        (),
        lambda: {(): pipeline.replies.unrouted},
    )
    metrics.counter_family(
        "jingxin_replies_incomplete_total",
        "Long replies that went on without all of their parts.",
        (),
        lambda: {(): pipeline.replies.incomplete},
    )
    metrics.counter_family(
        "jingxin_replies_refused_total",
        "Replies that no application could be sent, refused to the carrier.",
        (),
        lambda: {(): pipeline.refused_replies},
    )


def _numbers(metrics: Metrics, directory: NumberDirectory) -> None:
    metrics.gauge(
        "jingxin_ported_left_out",
        "Ported numbers of the register that found no room in memory.",
        lambda: directory.portability.left_out,
    )
    metrics.gauge(
        "jingxin_opt_outs_closed",
        "Accounts that may write to nobody, since an opt-out found no room.",
        lambda: len(directory.opt_outs.closed),
    )


def _messages(metrics: Metrics, accounts: Mapping[str, Account], carriers: Mapping[str, Carrier]) -> None:
    metrics.counter_family(
        "jingxin_parts_accepted_total",
        "Parts answered with ESME_ROK.",
        ("account",),
        lambda: {(account.name,): account.accepted for account in list(accounts.values())},
    )
    metrics.counter_family(
        "jingxin_parts_denied_total",
        "Submissions refused, by the status they were answered with.",
        ("account", "status"),
        _by_status(accounts.values, lambda account: (account.name, account.refused)),
    )
    metrics.counter_family(
        "jingxin_reports_total",
        "Receipts and replies answered by applications, by status.",
        ("account", "status"),
        _by_status(accounts.values, lambda account: (account.name, account.reported)),
    )
    metrics.counter_family(
        "jingxin_parts_sent_total",
        "Parts that a carrier took.",
        ("carrier",),
        lambda: {(carrier.name,): carrier.answered for carrier in list(carriers.values())},
    )
    metrics.counter_family(
        "jingxin_parts_refused_total",
        "Parts that a carrier refused, by status.",
        ("carrier", "status"),
        _by_status(carriers.values, lambda carrier: (carrier.name, carrier.refused)),
    )
    metrics.counter_family(
        "jingxin_receipts_total",
        "Receipts that matched a part, by message state.",
        ("carrier", "state"),
        lambda: {
            (carrier.name, _state_name(state)): count
            for carrier in list(carriers.values())
            for state, count in carrier.receipts.copy().items()
        },
    )


def _levels(
    metrics: Metrics,
    accounts: Mapping[str, Account],
    carriers: Mapping[str, Carrier],
    open_parts: OpenParts,
    log: EvidenceLog,
) -> None:
    metrics.gauge("jingxin_open_parts", "Parts without a final outcome.", lambda: len(open_parts.open))
    metrics.gauge(
        "jingxin_evidence_has_room", "1 while the evidence takes new messages.", lambda: log.has_room
    )
    metrics.gauge("jingxin_evidence_pending_records", "Records in the open batch.", lambda: log.pending)
    metrics.gauge_family(
        "jingxin_sessions",
        "Bound sessions of applications.",
        ("account",),
        lambda: {(account.name,): len(account.sessions) for account in list(accounts.values())},
    )
    metrics.gauge_family(
        "jingxin_outbox_reports",
        "Receipts and replies that an account has still to hear.",
        ("account",),
        lambda: {(account.name,): len(account.outbox) for account in list(accounts.values())},
    )
    metrics.gauge_family(
        "jingxin_queue_parts",
        "Parts that wait for a carrier.",
        ("carrier", "lane"),
        lambda: {
            (carrier.name, name): len(queue)
            for carrier in list(carriers.values())
            for name, queue in zip(LANE_NAMES, carrier.queues.lanes, strict=True)
        },
    )
    metrics.gauge_family(
        "jingxin_resting_parts",
        "Parts that wait for a time: scheduled, or to be tried again.",
        ("carrier",),
        lambda: {(carrier.name,): carrier.resting_parts for carrier in list(carriers.values())},
    )
    metrics.gauge_family(
        "jingxin_carrier_in_service",
        "1 while messages that have another way may go by this carrier.",
        ("carrier",),
        lambda: {(carrier.name,): float(carrier.out_since is None) for carrier in list(carriers.values())},
    )
    metrics.gauge_family(
        "jingxin_link_rate_parts_per_second",
        "What the controller of the link allows; the contract rate while the carrier is content.",
        ("carrier", "link"),
        lambda: {
            (carrier.name, str(link.index)): link.congestion.rate_per_s
            for carrier in list(carriers.values())
            for link in carrier.links
        },
    )
    metrics.gauge_family(
        "jingxin_uncertain_parts",
        "Parts whose fate at the carrier is unknown.",
        ("carrier",),
        lambda: {(carrier.name,): carrier.correlation.uncertain for carrier in list(carriers.values())},
    )
    metrics.gauge_family(
        "jingxin_receipts_waiting",
        "Receipts that have matched nothing yet.",
        ("carrier",),
        lambda: {(carrier.name,): carrier.correlation.waiting for carrier in list(carriers.values())},
    )
    metrics.gauge_family(
        "jingxin_link_up",
        "1 while the link is bound.",
        ("carrier", "link"),
        lambda: {
            (carrier.name, str(link.index)): float(link.state == "bound")
            for carrier in list(carriers.values())
            for link in carrier.links
        },
    )
    metrics.gauge_family(
        "jingxin_link_window_used",
        "Requests on the link that the carrier has not answered.",
        ("carrier", "link"),
        lambda: {
            (carrier.name, str(link.index)): float(link.window_used)
            for carrier in list(carriers.values())
            for link in carrier.links
        },
    )


Owner = TypeVar("Owner")


def _by_status(
    owners: Callable[[], Iterable[Owner]], counts: Callable[[Owner], tuple[str, Mapping[int, int]]]
) -> Callable[[], dict[Labels, float]]:
    def read() -> dict[Labels, float]:
        return {
            (name, _status_label(status)): count
            for name, by_status in map(counts, list(owners()))
            for status, count in dict(by_status).items()
        }

    return read


def _status_label(status: int) -> str:
    return "other" if status == OTHER else status_name(status)


def _state_name(state: int) -> str:
    return _STATE_NAMES.get(state, "unmapped")
