"""What the gateway counts, for Prometheus.

The hot path adds to plain integers: `cell.value += 1` costs 0.02 µs, `inc()` of prometheus-client 0.3, and
with labels to look up 1.2. So an object takes its cells once, when it is made, and keeps them; the registry
here only remembers where they are, and reads them when somebody scrapes.

Scrapes run in a thread of the HTTP server, the counting in the thread of the event loop. Each cell is
written by one thread alone. A gauge has no cell but a callback, which the scraping thread calls: it may read
numbers and lengths, and takes a copy (`dict.copy()`, `list(…)`) before it walks over anything that the loop
changes.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Generic, Protocol, TypeVar

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric

from gateway.histogram import Histogram

EXPOSITION_CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4

# Label values come from configuration (accounts, links) and from peers (statuses, of which a vendor may
# invent four thousand million). A scrape of 1,000 cells a family takes some milliseconds; what comes later
# is counted together.
CELLS_MAX: Final = 1000
OVERFLOW_LABEL: Final = "other"

_NAME: Final = re.compile(r"jingxin(_[a-z][a-z0-9]*)+")
_LABEL: Final = re.compile(r"[a-z]+(_[a-z]+)*")


class Cell:
    """One number of a counter. The hot operation is `cell.value += 1`; it only ever grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0


CellT = TypeVar("CellT", Cell, Histogram)


class Family(Generic[CellT]):
    """The cells of one metric, one for each combination of label values."""

    def __init__(self, name: str, help_text: str, labels: tuple[str, ...], make: Callable[[], CellT]) -> None:
        self.name: Final = name
        self.help_text: Final = help_text
        self.labels: Final = labels
        self._make: Final[Callable[[], CellT]] = make
        self._cells: dict[tuple[str, ...], CellT] = {}

    def cell(self, *values: str) -> CellT:
        """The cell of these label values, in the order of `labels`; made at first use, then always the same.

        Beyond CELLS_MAX combinations it is the one cell whose labels are all "other", so that no peer can
        fill the memory by inventing values.
        """
        found = self._cells.get(values)
        if found is not None:
            return found
        assert len(values) == len(self.labels), f"{self.name} has labels {self.labels}, not {values}"
        if len(self._cells) >= CELLS_MAX:
            values = (OVERFLOW_LABEL,) * len(self.labels)
        return self._cells.setdefault(values, self._make())

    def cells(self) -> dict[tuple[str, ...], CellT]:
        """A copy, safe to walk over in any thread."""
        return self._cells.copy()


class _Source(Protocol):
    def __call__(self) -> Metric: ...


class Metrics:
    """The registry: makes families, and writes them out (`exposition`).

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

    def counter(self, name: str, help_text: str, labels: tuple[str, ...] = ()) -> Family[Cell]:
        """A number that only grows. `name` ends in `_total`."""
        family = Family(name, help_text, labels, Cell)

        def source() -> Metric:
            metric = CounterMetricFamily(name, help_text, labels=labels)
            for values, cell in family.cells().items():
                metric.add_metric(values, cell.value)
            return metric

        self._add_counter(name, labels, source)
        return family

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

        self._add_counter(name, labels, source)

    def histogram(self, name: str, help_text: str, labels: tuple[str, ...] = ()) -> Family[Histogram]:
        """Durations in the buckets of `gateway.histogram`. `name` ends in `_seconds`."""
        family = Family(name, help_text, labels, Histogram)
        self._add_histogram(name, help_text, labels, family.cells)
        return family

    def expose_histogram(self, name: str, help_text: str, histogram: Histogram) -> None:
        """A histogram without labels that its owner keeps. `name` ends in `_seconds`."""
        self._add_histogram(name, help_text, (), lambda: {(): histogram})

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

    def _add_counter(self, name: str, labels: tuple[str, ...], source: _Source) -> None:
        assert name.endswith("_total"), f"{name}: the name of a counter ends in _total"
        self._add(name, labels, source)

    def _add_histogram(
        self,
        name: str,
        help_text: str,
        labels: tuple[str, ...],
        cells: Callable[[], Mapping[tuple[str, ...], Histogram]],
    ) -> None:
        unit = name.rpartition("_")[2]
        assert unit in ("seconds", "records"), f"{name}: the name of a histogram ends in its unit"

        def source() -> Metric:
            metric = HistogramMetricFamily(name, help_text, labels=labels)
            for values, histogram in cells().items():
                metric.add_metric(values, histogram.buckets(), histogram.sum_s)
            return metric

        self._add(name, labels, source)

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
