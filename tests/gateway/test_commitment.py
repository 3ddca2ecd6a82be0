"""When applications are read, and when the gateway wakes by itself."""

from __future__ import annotations

import pytest

from gateway.commitment import PRESSED_MAX_S
from protocol.smpp.codes import CommandStatus
from storage.seal import Sealer
from tests.gateway.peers import submit_sm
from tests.gateway.world import MOBILE, UNICOM, World, carrier


def test_a_carrier_in_trouble_stops_nobody(sealer: Sealer) -> None:
    world = World(sealer, carriers=(carrier(window=10), carrier("cucc", "unicom")))
    slow, _, application = world.connect("cmcc"), world.connect("cucc"), world.application()
    for _ in range(800):
        application.say(submit_sm(MOBILE))
    world.settle()
    world.loop.now += 1.0
    for request in slow.taken()[:2]:
        slow.answer(request, b"%d" % request.sequence_number)
    world.upkeep.tick()
    world.settle()
    cmcc = world.dispatch.carriers["cmcc"]
    assert (cmcc.answered_per_s, len(cmcc.queues), cmcc.window_bound) == (2.0, 789, True)
    assert application.ask(submit_sm(UNICOM)).command_status == CommandStatus.ESME_ROK


def test_applications_wait_for_carriers_that_are_behind_but_not_for_long(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    pressed = True
    monkeypatch.setattr(world.dispatch, "pressed", lambda: pressed)
    may_read = []
    for _ in range(9):
        world.turns.begin()
        may_read.append(world.commitment.may_read_applications())
        world.loop.now += PRESSED_MAX_S / 4
    assert may_read == [False, False, False, False, True, False, False, False, False]
    pressed = False
    assert world.commitment.may_read_applications()
    pressed = True
    assert not world.commitment.may_read_applications()  # the wait begins anew


def test_a_long_pause_of_one_carrier_does_not_delay_the_rate_of_another(sealer: Sealer) -> None:
    world = World(
        sealer,
        carriers=(
            carrier("cmcc", throttle_pause_s=30.0),
            carrier("cucc", "unicom", rate_per_s=10, burst=1),
        ),
    )
    mobile, unicom, application = world.connect("cmcc"), world.connect("cucc"), world.application()
    application.submit(MOBILE)
    (request,) = mobile.taken()
    mobile.answer(request, command_status=CommandStatus.ESME_RTHROTTLED)
    assert world.loop.next_timer == world.loop.now + 30.0
    for _ in range(3):
        application.say(submit_sm(UNICOM))
    world.settle()
    assert len(unicom.taken()) == 1
    assert world.loop.next_timer == pytest.approx(world.loop.now + 0.1)
    world.loop.now += 0.101
    world.settle()
    assert len(unicom.taken()) == 1
