"""Scenarios of carriers that throttle, stall, lie and disappear, and of changes while messages pass.

As in bench/scenarios.py: in a short form only what must hold whatever the speed is judged.
"""

from __future__ import annotations

from time import monotonic, sleep
from typing import Any, Final

from bench.check import check_anywhere
from bench.histogram import LatencyHistogram
from bench.messages import NETWORKS, parts_of
from bench.outcome import Bounds, Outcome, figures_of, outcome
from bench.world import World
from gateway.trial import TrialError, wait_until_ready

# What issue 3 demands.
GOODPUT_MIN: Final = 0.95
THROTTLED_MAX: Final = 0.02
SETTLED_S: Final = 5.0  # after a change of the carrier's rate
EMERGENCY_P99_MS_MAX: Final = 100.0
EMERGENCIES: Final = 200
FAIL_EVERY: Final = 3

# One carrier account serves all networks, so that all messages meet in its queue.
_ONE_WAY: Final = "\n".join(
    f'[[route]]\nnetwork = "{network}"\ncarriers = ["{NETWORKS[0]}"]\n' for network in NETWORKS
)
# Every network can be reached by two carrier accounts.
_TWO_WAYS: Final = "\n".join(
    f'[[route]]\nnetwork = "{network}"\ncarriers = ["{NETWORKS[0]}", "{NETWORKS[1]}"]\n'
    for network in NETWORKS
)


# -- congestion ---------------------------------------------------------------------------------------------


def throttle(*, short: bool) -> Outcome:
    """A carrier that takes 50 a second, then 500, of a queue that never ends."""
    bounds = Bounds()
    watched_s = 5.0 if short else 20.0
    phases: dict[str, dict[str, float]] = {}
    with World(
        [{"response_delay_s": 0.01, "rate_per_s": 50}],
        links=1,
        link_window=64,
        carrier_keys={"rate_per_s": 2000},
        tables=_ONE_WAY,
    ) as world:
        load = world.start_load(count=2_000_000, rate_per_s=800, window=400)
        for rate_per_s in (50, 500):
            world.tell_carriers("set", carrier=NETWORKS[0], rate_per_s=rate_per_s)
            sleep(SETTLED_S)
            world.tell_carriers("mark")
            sleep(watched_s)
            phase = world.tell_carriers("mark")
            counts = phase["carriers"][NETWORKS[0]]
            goodput = counts["accepted"] / (rate_per_s * phase["elapsed_s"])
            throttled = counts["throttled"] / max(1, counts["submits"])
            phases[f"at_{rate_per_s}_per_s"] = {
                "goodput": round(goodput, 3),
                "throttled": round(throttled, 4),
            }
            if not short:
                bounds.at_least(f"goodput at {rate_per_s}", round(goodput, 3), GOODPUT_MIN)
                bounds.at_most(f"throttled at {rate_per_s}", round(throttled, 4), THROTTLED_MAX)
        load.tell({"command": "finish"})
        world.tell_carriers("set", carrier=NETWORKS[0], rate_per_s=0)
        report = world.finish_load(load, 120)
        world.gateway.end()
        verified = world.verify()
    bounds.complete(report, report.submitted)
    bounds.verified(verified)
    return outcome("throttle", short=short, bounds=bounds, figures={**phases, **figures_of(report)})


def lanes(*, short: bool) -> Outcome:
    """100,000 bulk messages wait on a link of 200 a second, and emergencies are submitted among them."""
    bounds = Bounds()
    # In the long form 100,000 must wait at least, and some leave while the others come.
    bulk_count, tries = (4_000, 40) if short else (105_000, EMERGENCIES)
    with World(
        [{"response_delay_s": 0.01, "watched": "3"}],
        links=1,
        link_window=64,
        carrier_keys={"rate_per_s": 200},
        account_keys={"lanes": ["emergency", "bulk"]},
        tables=_ONE_WAY,
    ) as world:
        bulk = world.start_load("bulk", count=bulk_count, first=tries, registered_delivery=0, quiet_s=0.0)
        while (line := world.ask("status"))["accounts"]["demo"]["accepted"] < bulk_count:
            sleep(0.1)
        waiting = line["carriers"][NETWORKS[0]]["queue"]
        urgent = world.start_load("urgent", count=tries, rate_per_s=20, priority_flag=3, timed=True)
        report = world.finish_load(urgent, 120)
        sent_s = world.load_ledger("urgent").sent_s
        arrived = {each.token: each.taken_at_s for each in world.carrier_reports()[0].watched}
        bulk.end()
    waits = LatencyHistogram()
    for token, taken_at_s in arrived.items():
        waits.observe(taken_at_s - sent_s[token])
    to_the_carrier_ms = waits.quantiles()
    bounds.complete(report, tries)
    bounds.equal("arrived", len(arrived), tries)
    if not short:
        bounds.at_least("waiting", waiting, 100_000)
        bounds.at_most("emergency_p99_ms", to_the_carrier_ms.p99, EMERGENCY_P99_MS_MAX)
    figures = {
        "bulk_waiting": waiting,
        "emergencies": tries,
        "to_the_carrier_ms": to_the_carrier_ms,
    }
    return outcome("lanes", short=short, bounds=bounds, figures=figures)


# -- failover -----------------------------------------------------------------------------------------------


def dark(*, short: bool, enquire_link_s: float = 2.0) -> Outcome:
    """One of two carriers of a network reads and writes nothing any more, and no connection ends."""
    bounds = Bounds()
    dark_name = NETWORKS[0]
    with World(
        [{"response_delay_s": 0.005, "receipt_delay_s": 0.05}],
        links=2,
        link_window=50,
        carrier_keys={"enquire_link_s": enquire_link_s},
        tables=_TWO_WAYS,
    ) as world:
        load = world.start_load(count=2_000_000, rate_per_s=300, window=400, quiet_s=3.0)
        sleep(1.0 if short else 5.0)
        world.tell_carriers("stall", carrier=dark_name, stalled=True)
        went_dark, detected_s = monotonic(), 0.0
        while detected_s <= 5 * enquire_link_s:
            bound = any(each["state"] == "bound" for each in _links(world, dark_name))
            detected_s = monotonic() - went_dark
            if not bound:
                break
            sleep(0.05)
        world.tell_carriers("mark")
        sleep(2.0 if short else 10.0)
        phase = world.tell_carriers("mark")
        went_on = phase["carriers"][NETWORKS[1]]["accepted"] / phase["elapsed_s"]
        uncertain_then = len(world.uncertain())
        load.tell({"command": "finish"})
        sleep(1.0)
        world.tell_carriers("stall", carrier=dark_name, stalled=False)
        report = world.finish_load(load, 120)
        rest = world.end(check_anywhere)
    bounds.sound(rest.findings, rest.verified)
    bounds.at_most("detected_s", round(detected_s, 2), 2 * enquire_link_s)
    bounds.at_least("went_on_per_s", round(went_on, 1), 200)
    bounds.at_most("uncertain", uncertain_then, 2 * 50)
    figures = {
        **figures_of(report),
        "enquire_link_s": enquire_link_s,
        "detected_s": round(detected_s, 2),
        "went_on_per_s": round(went_on, 1),
        "uncertain_while_dark": uncertain_then,
        "uncertain_at_the_end": len(rest.uncertain),
        "taken_twice": rest.findings.taken_twice,
    }
    return outcome("dark", short=short, bounds=bounds, figures=figures)


def _links(world: World, carrier: str) -> list[dict[str, Any]]:
    return [each for each in world.ask("status")["links"] if each["link"].startswith(f"{carrier}#")]


# -- long messages ------------------------------------------------------------------------------------------


def long(*, short: bool) -> Outcome:
    """Long messages of two to five parts, cut by the application and by the gateway, every third part
    failing; and long replies whose parts come in a random order."""
    bounds = Bounds()
    count = 400 if short else 10_000
    parts = sum(map(parts_of, range(count)))
    figures: dict[str, Any] = {}
    for form, submitted in (("parts", parts), ("payload", count)):
        with _long_world() as world:
            load = world.start_load(form=form, count=count, fail_every=FAIL_EVERY)
            report = world.finish_load(load, 300)
            reports = world.carrier_reports()
            world.gateway.end()
            verified = world.verify()
        bounds.complete(report, submitted)
        bounds.equal(f"{form}: unexpected", report.unexpected, 0)
        bounds.equal(f"{form}: parts", sum(each.accepted for each in reports), parts)
        bounds.equal(f"{form}: parts twice", sum(each.taken_twice for each in reports), 0)
        bounds.equal(f"{form}: misdirected", sum(each.misdirected for each in reports), 0)
        bounds.verified(verified)
        figures[form] = {**figures_of(report), "evidence": verified[1]}
    figures["replies"] = _long_replies(bounds, count)
    return outcome("long", short=short, bounds=bounds, figures=figures)


def _long_world() -> World:
    habit = {"response_delay_s": 0.002, "receipt_delay_s": 0.02, "fail_every": FAIL_EVERY}
    return World([habit], carrier_keys={"message_payload": False})


def _long_replies(bounds: Bounds, count: int) -> dict[str, Any]:
    with _long_world() as world:
        load = world.start_load(count=0, replies=count + 1, quiet_s=3.0)
        world.wait_for_sessions()
        share = count // len(NETWORKS)
        for number, name in enumerate(NETWORKS):
            world.tell_carriers(
                "long_replies",
                carrier=name,
                count=share,
                seed=number,
                destination="10639110001",
                first=number * share,
            )
        report = world.finish_load(load, 300)
        world.gateway.end()
        verified = world.verify()
    bounds.equal("replies right", report.replies_right, count)
    bounds.equal("replies wrong", report.replies_wrong, 0)
    bounds.equal("replies repeated", report.replies_repeated, 0)
    bounds.verified(verified)
    return {"right": report.replies_right, "evidence": verified[1]}


# -- change -------------------------------------------------------------------------------------------------


def reload(*, short: bool) -> Outcome:
    """Another configuration while 2,000 messages a second pass: a wrong one, and then one with another
    account and another rate of a carrier."""
    bounds = Bounds()
    slowed, slow_per_s = NETWORKS[2], 200
    with World([{"response_delay_s": 0.005, "receipt_delay_s": 0.05}]) as world:
        load = world.start_load(count=2_000_000, rate_per_s=2000, window=400, quiet_s=3.0)
        sleep(1.0)
        before = world.ask("status")
        right = world.config.read_text(encoding="utf-8")
        world.config.write_text(right.replace("[[account]]", "[[acount]]"), encoding="utf-8")
        refusal = _reload(world)
        bounds.equal("changed by a wrong file", world.ask("status")["carriers"] == {}, False)
        world.config.write_text(_changed(right, slowed, slow_per_s), encoding="utf-8")
        answer = _reload(world)
        world.tell_carriers("mark")
        sleep(1.0)
        world.tell_carriers("mark")
        sleep(2.0 if short else 10.0)
        phase = world.tell_carriers("mark")
        rate_per_s = phase["carriers"][slowed]["accepted"] / phase["elapsed_s"]
        after = world.ask("status")
        load.tell({"command": "finish"})
        world.config.write_text(right, encoding="utf-8")  # and back, so that what waits can leave
        _reload(world)
        report = world.finish_load(load, 120)
        rest = world.end()
    bounds.complete(report, report.submitted)
    bounds.sound(rest.findings, rest.verified)
    bounds.equal("sessions lost", report.sessions_lost, 0)
    bounds.equal("links lost", sum(each.lost_sessions + each.cuts for each in rest.carriers), 0)
    bounds.equal("binds", sum(each.binds for each in rest.carriers), 2 * len(NETWORKS))
    bounds.equal("accounts", len(after["accounts"]) - len(before["accounts"]), 1)
    bounds.at_most("new rate", round(rate_per_s, 1), 1.02 * slow_per_s)
    if not short:
        bounds.at_least("new rate", round(rate_per_s, 1), GOODPUT_MIN * slow_per_s)
    figures = {
        **figures_of(report),
        "refusal": refusal,
        "answer": answer,
        "new_rate_per_s": round(rate_per_s, 1),
    }
    return outcome("reload", short=short, bounds=bounds, figures=figures)


def _reload(world: World) -> str:
    try:
        return str(world.ask("reload", {"who": "bench"}))
    except TrialError as error:
        return str(error)


def _changed(configuration: str, carrier: str, rate_per_s: int) -> str:
    """One account more, and another rate of one carrier; its burst is what 50 ms bring, some batches' worth:
    with less than a batch's the rate is not reached, since parts leave by the batch."""
    head, mark, tail = configuration.partition(f'name = "{carrier}"')
    tail = tail.replace("rate_per_s = 100000", f"rate_per_s = {rate_per_s}\nburst = {rate_per_s // 20}", 1)
    account = '[[account]]\nsystem_id = "another"\npassword_file = "secrets/account"\n'
    return f"{head}{mark}{tail}\n{account}"


def restart(*, short: bool) -> Outcome:
    """Restarts in order under load, while the listening socket belongs to who starts the gateway."""
    bounds = Bounds()
    restarts = 2 if short else 10
    habit = {"response_delay_s": 0.005, "response_jitter_s": 0.01, "receipt_delay_s": 0.2}
    with World([habit], activated=True) as world:
        load = world.start_load(count=2_000_000, rate_per_s=1000, window=200, reconnect=True, quiet_s=3.0)
        for _ in range(restarts):
            world.wait_for_sessions()
            sleep(1.0)
            world.restart_gateway()
            wait_until_ready(world.gateway, world.http_port)
        world.wait_for_sessions()
        sleep(1.0)
        load.tell({"command": "finish"})
        report = world.finish_load(load, 120)
        rest = world.end()
    bounds.sound(rest.findings, rest.verified)
    bounds.equal("connects failed", report.connects_failed, 0)
    # Who closes when it is asked to unbind may have a submit on the way; it must not have been accepted.
    bounds.equal("unanswered and taken", rest.findings.unanswered_taken, 0)
    bounds.equal("missing", report.missing, 0)
    bounds.equal("uncertain", len(rest.uncertain), 0)
    bounds.at_least("accepted", report.accepted, 100 * restarts)
    figures = {
        **figures_of(report),
        "restarts": restarts,
        "connects_failed": report.connects_failed,
        "sessions_ended": report.sessions_lost,
        "unanswered": report.unanswered,
    }
    return outcome("restart", short=short, bounds=bounds, figures=figures)
