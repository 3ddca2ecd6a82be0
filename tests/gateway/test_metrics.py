"""The exposition as prometheus-client's own parser reads it back."""

import math
from collections.abc import Callable

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.histogram import Histogram
from gateway.metrics import CELLS_MAX, Metrics

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def read_back(metrics: Metrics) -> tuple[dict[str, tuple[str, str]], Samples]:
    """(name → type and help, sample and labels → value) of what is ours; process_… is prometheus-client's."""
    families: dict[str, tuple[str, str]] = {}
    samples: Samples = {}
    for family in text_string_to_metric_families(metrics.exposition().decode()):
        if family.name.startswith("jingxin_"):
            families[family.name] = (family.type, family.documentation)
            samples |= {
                (sample.name, frozenset(sample.labels.items())): sample.value for sample in family.samples
            }
    return families, samples


def labels(**values: str) -> frozenset[tuple[str, str]]:
    return frozenset(values.items())


def test_counters_gauges_and_histograms_are_read_back_as_they_were_written() -> None:
    metrics = Metrics()
    accepted = metrics.counter("jingxin_parts_accepted_total", "Parts accepted.", ("account", "lane"))
    refused = metrics.counter("jingxin_parts_refused_total", "Parts refused.")
    metrics.gauge("jingxin_open_messages", "Messages without an outcome.", lambda: 7)
    metrics.gauge_family(
        "jingxin_link_bound",
        "1 where a link is bound.",
        ("carrier", "link"),
        lambda: {("cmcc", "0"): 1, ("cmcc", "1"): 0},
    )
    commit = metrics.histogram("jingxin_commit_seconds", "Time to the disk.", ("log",)).cell("evidence")
    accepted.cell("hukou", "bulk").value += 3
    accepted.cell('quo"ted\\户政\n', "alarm").value += 1
    refused.cell().value += 2
    commit.observe_many([0.0003, 0.0003, 0.004])

    families, samples = read_back(metrics)
    assert families == {
        "jingxin_parts_accepted": ("counter", "Parts accepted."),
        "jingxin_parts_refused": ("counter", "Parts refused."),
        "jingxin_open_messages": ("gauge", "Messages without an outcome."),
        "jingxin_link_bound": ("gauge", "1 where a link is bound."),
        "jingxin_commit_seconds": ("histogram", "Time to the disk."),
    }
    le = {
        float(dict(key)["le"]): value
        for (name, key), value in samples.items()
        if name == "jingxin_commit_seconds_bucket"
    }
    assert len(le) == 23
    assert (le[0.0002], le[0.0005], le[0.002], le[0.005], le[math.inf]) == (0, 2, 2, 3, 3)
    assert {key: value for key, value in samples.items() if not key[0].endswith("_bucket")} == {
        ("jingxin_parts_accepted_total", labels(account="hukou", lane="bulk")): 3,
        ("jingxin_parts_accepted_total", labels(account='quo"ted\\户政\n', lane="alarm")): 1,
        ("jingxin_parts_refused_total", labels()): 2,
        ("jingxin_open_messages", labels()): 7,
        ("jingxin_link_bound", labels(carrier="cmcc", link="0")): 1,
        ("jingxin_link_bound", labels(carrier="cmcc", link="1")): 0,
        ("jingxin_commit_seconds_count", labels(log="evidence")): 3,
        ("jingxin_commit_seconds_sum", labels(log="evidence")): pytest.approx(0.0046),
    }


def test_a_scrape_sees_what_was_counted_since_the_last() -> None:
    metrics = Metrics()
    depth = {"queue": 1.0}
    cell = metrics.counter("jingxin_turns_total", "Turns.").cell()
    metrics.gauge("jingxin_queue_parts", "Parts that wait.", lambda: depth["queue"])
    for turn in range(3):
        cell.value += 1
        depth["queue"] = turn * 2.0
        _, samples = read_back(metrics)
        assert samples == {
            ("jingxin_turns_total", labels()): turn + 1,
            ("jingxin_queue_parts", labels()): turn * 2,
        }


def test_what_others_keep_is_exposed_too() -> None:
    metrics = Metrics()
    by_status: dict[tuple[str, ...], float] = {("hukou", "ESME_ROK"): 5, ("hukou", "ESME_RTHROTTLED"): 1}
    metrics.counter_family("jingxin_reports_total", "Reports.", ("account", "status"), lambda: by_status)
    metrics.counter_family("jingxin_batches_total", "Batches.", (), lambda: {(): 9})
    turn = Histogram()
    metrics.expose_histogram("jingxin_turn_seconds", "Turns.", turn)
    turn.observe(0.25)
    _, samples = read_back(metrics)
    assert {key: value for key, value in samples.items() if not key[0].endswith("_bucket")} == {
        ("jingxin_reports_total", labels(account="hukou", status="ESME_ROK")): 5,
        ("jingxin_reports_total", labels(account="hukou", status="ESME_RTHROTTLED")): 1,
        ("jingxin_batches_total", labels()): 9,
        ("jingxin_turn_seconds_count", labels()): 1,
        ("jingxin_turn_seconds_sum", labels()): 0.25,
    }


def test_a_cell_is_made_once() -> None:
    family = Metrics().counter("jingxin_answers_total", "Answers.", ("status",))
    assert family.cell("ESME_ROK") is family.cell("ESME_ROK")
    assert family.cell("ESME_ROK") is not family.cell("ESME_RTHROTTLED")
    with pytest.raises(AssertionError, match="has labels"):
        family.cell("ESME_ROK", "hukou")


def test_a_peer_that_invents_label_values_ends_in_one_cell() -> None:
    metrics = Metrics()
    family = metrics.counter("jingxin_answers_total", "Answers.", ("carrier", "status"))
    first = family.cell("cmcc", "0x00000000")
    for status in range(1, CELLS_MAX + 50):
        family.cell("cmcc", f"0x{status:08x}").value += 1
    assert len(family.cells()) == CELLS_MAX + 1
    assert family.cell("other", "other").value == 50
    assert family.cell("cmcc", "0x00000000") is first


@pytest.mark.parametrize(
    ("register", "text"),
    [
        (lambda m: m.counter("jingxin_parts", "h"), "the name of a counter ends in _total"),
        (lambda m: m.counter_family("jingxin_parts", "h", (), dict), "the name of a counter ends in _total"),
        (lambda m: m.histogram("jingxin_commit_ms", "h"), "ends in its unit"),
        (lambda m: m.expose_histogram("jingxin_commit_ms", "h", Histogram()), "ends in its unit"),
        (lambda m: m.gauge("jingxin_parts_total", "h", lambda: 0), "the name of a gauge does not end in"),
        (lambda m: m.gauge("jingxin_parts_count", "h", lambda: 0), "the name of a gauge does not end in"),
        (lambda m: m.gauge("parts", "h", lambda: 0), "a name is jingxin_ and words in lower case"),
        (lambda m: m.gauge("jingxin_Parts", "h", lambda: 0), "a name is jingxin_ and words in lower case"),
        (
            lambda m: m.gauge("jingxin_parts-open", "h", lambda: 0),
            "a name is jingxin_ and words in lower case",
        ),
        (lambda m: m.counter("jingxin_a_total", "h", ("le",)), "le is no name for a label"),
        (lambda m: m.counter("jingxin_a_total", "h", ("Link",)), "a label is words in lower case, not Link"),
        (lambda m: m.gauge("jingxin_taken", "h", lambda: 0), "is registered twice"),
    ],
)
def test_a_name_against_the_rules_is_refused(register: Callable[[Metrics], object], text: str) -> None:
    metrics = Metrics()
    metrics.gauge("jingxin_taken", "h", lambda: 0)
    with pytest.raises(AssertionError, match=text):
        register(metrics)


def test_the_process_is_measured_too() -> None:
    names = {family.name for family in text_string_to_metric_families(Metrics().exposition().decode())}
    assert {"process_cpu_seconds", "process_resident_memory_bytes", "process_open_fds"} <= names
