"""What the gateway counts, for Prometheus.

The hot path adds to plain integers, which costs 0.02 µs; `inc()` of prometheus-client costs 0.3, and with
labels to look up 1.2. So whoever counts keeps its own numbers; the registry here only remembers how to read
them, and does so when somebody scrapes.

Scrapes run in a thread of the HTTP server, the counting in the thread of the event loop. What reads for a
scrape may read numbers and lengths, and takes a copy (`dict.copy()`, `list(…)`) before it walks over anything
that the loop changes.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric

from gateway.histogram import Histogram

EXPOSITION_CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4

_NAME: Final = re.compile(r"jingxin(_[a-z][a-z0-9]*)+")
_LABEL: Final = re.compile(r"[a-z]+(_[a-z]+)*")


class _Source(Protocol):
    def __call__(self) -> Metric: ...


class Metrics:
    """The registry: remembers families, and writes them out (`exposition`).

    Names are given whole, so that a search for one from a dashboard ends in the source. They begin with
    `jingxin_` and carry their unit by Prometheus' rules: a counter ends in `_total`, a histogram of
    durations in `_seconds`, a gauge in neither `_total` nor a suffix that a histogram writes. A wrong or a
    second name is an AssertionError.
    """

    def __init__(self) -> None:
        self._sources: dict[str, _Source] = {}
        self._registry = CollectorRegistry(auto_describe=False)
        # CPU seconds, resident memory and open files of this process, in Prometheus' own names.
        ProcessCollector(registry=self._registry)
        self._registry.register(self)

    def counter_family(
        self,
        name: str,
        help_text: str,
        labels: tuple[str, ...],
        read: Callable[[], Mapping[tuple[str, ...], float]],
    ) -> None:
        """A counter that its owner keeps, read in the scraping thread. `name` ends in `_total`."""

        def source() -> Metric:
            metric = CounterMetricFamily(name, help_text, labels=labels)
            for values, number in read().items():
                metric.add_metric(values, number)
            return metric

        assert name.endswith("_total"), f"{name}: the name of a counter ends in _total"
        self._add(name, labels, source)

    def expose_histogram(self, name: str, help_text: str, histogram: Histogram) -> None:
        """A histogram that its owner keeps. `name` ends in the unit, `_seconds` or `_records`."""
        unit = name.rpartition("_")[2]
        assert unit in ("seconds", "records"), f"{name}: the name of a histogram ends in its unit"

        def source() -> Metric:
            metric = HistogramMetricFamily(name, help_text)
            metric.add_metric((), histogram.buckets(), histogram.sum_s)
            return metric

        self._add(name, (), source)

    def gauge(self, name: str, help_text: str, read: Callable[[], float]) -> None:
        """A number that goes up and down, read by `read` in the scraping thread."""

        def source() -> Metric:
            return GaugeMetricFamily(name, help_text, value=read())

        self._add_gauge(name, (), source)

    def gauge_family(
        self,
        name: str,
        help_text: str,
        labels: tuple[str, ...],
        read: Callable[[], Mapping[tuple[str, ...], float]],
    ) -> None:
        """A gauge for each combination of label values, all read by one `read` in the scraping thread."""

        def source() -> Metric:
            metric = GaugeMetricFamily(name, help_text, labels=labels)
            for values, number in read().items():
                metric.add_metric(values, number)
            return metric

        self._add_gauge(name, labels, source)

    def collect(self) -> Iterable[Metric]:
        """Every family as prometheus-client knows it; its registry calls this on each collector."""
        return [source() for source in self._sources.copy().values()]

    def exposition(self) -> bytes:
        """The text for Prometheus, of EXPOSITION_CONTENT_TYPE. Any thread; raises what a callback raises."""
        return generate_latest(self._registry)

    def _add_gauge(self, name: str, labels: tuple[str, ...], source: _Source) -> None:
        reserved = ("_total", "_count", "_sum", "_bucket", "_created", "_info")
        assert not name.endswith(reserved), f"{name}: the name of a gauge does not end in {reserved}"
        self._add(name, labels, source)

    def _add(self, name: str, labels: tuple[str, ...], source: _Source) -> None:
        assert _NAME.fullmatch(name), f"{name}: a name is jingxin_ and words in lower case"
        assert name not in self._sources, f"{name} is registered twice"
        for label in labels:
            # `le` is the label of histogram buckets.
            assert label != "le", f"{name}: le is no name for a label of ours"
            assert _LABEL.fullmatch(label), f"{name}: a label is words in lower case, not {label}"
        self._sources[name] = source
