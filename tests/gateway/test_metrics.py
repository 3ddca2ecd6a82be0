"""The exposition as prometheus-client's own parser reads it back."""

import math
from collections.abc import Callable

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.histogram import Histogram
from gateway.metrics import Metrics

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
    accepted: dict[tuple[str, ...], float] = {("hukou", "bulk"): 3.0, ('quo"ted\\户政\n', "alarm"): 1.0}
    metrics.counter_family(
        "jingxin_parts_accepted_total", "Parts accepted.", ("account", "lane"), lambda: accepted
    )
    metrics.counter_family("jingxin_parts_refused_total", "Parts refused.", (), lambda: {(): 2})
    metrics.gauge("jingxin_open_messages", "Messages without an outcome.", lambda: 7)
    metrics.gauge_family(
        "jingxin_link_bound",
        "1 where a link is bound.",
        ("carrier", "link"),
        lambda: {("cmcc", "0"): 1, ("cmcc", "1"): 0},
    )
    commit = Histogram()
    metrics.expose_histogram("jingxin_commit_seconds", "Time to the disk.", commit)
    for seconds in (0.0003, 0.0003, 0.004):
        commit.observe(seconds)

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
        ("jingxin_commit_seconds_count", labels()): 3,
        ("jingxin_commit_seconds_sum", labels()): pytest.approx(0.0046),
    }


def test_a_scrape_sees_what_was_counted_since_the_last() -> None:
    metrics = Metrics()
    numbers = {"turns": 0, "parts": 0}
    metrics.counter_family("jingxin_turns_total", "Turns.", (), lambda: {(): numbers["turns"]})
    metrics.gauge("jingxin_queue_parts", "Parts that wait.", lambda: numbers["parts"])
    for turn in range(3):
        numbers = {"turns": turn + 1, "parts": turn * 2}
        _, samples = read_back(metrics)
        assert samples == {
            ("jingxin_turns_total", labels()): turn + 1,
            ("jingxin_queue_parts", labels()): turn * 2,
        }


@pytest.mark.parametrize(
    ("register", "text"),
    [
        (lambda m: m.counter_family("jingxin_parts", "h", (), dict), "the name of a counter ends in _total"),
        (lambda m: m.expose_histogram("jingxin_commit_ms", "h", Histogram()), "ends in its unit"),
        (lambda m: m.gauge("jingxin_parts_total", "h", lambda: 0), "the name of a gauge does not end in"),
        (lambda m: m.gauge("jingxin_parts_count", "h", lambda: 0), "the name of a gauge does not end in"),
        (lambda m: m.gauge("parts", "h", lambda: 0), "a name is jingxin_ and words in lower case"),
        (lambda m: m.gauge("jingxin_Parts", "h", lambda: 0), "a name is jingxin_ and words in lower case"),
        (
            lambda m: m.gauge("jingxin_parts-open", "h", lambda: 0),
            "a name is jingxin_ and words in lower case",
        ),
        (lambda m: m.gauge_family("jingxin_a", "h", ("le",), dict), "le is no name for a label"),
        (
            lambda m: m.gauge_family("jingxin_a", "h", ("Link",), dict),
            "a label is words in lower case, not Link",
        ),
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
