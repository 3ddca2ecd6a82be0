from protocol.smpp.pdu import SubmitSmResp
from tests.gateway.peers import receipt, submit_sm
from tests.gateway.world import MOBILE, World


def test_smoke(world: World) -> None:
    carrier, application = world.connect(), world.application()
    application.say(submit_sm(MOBILE))
    world.turn()
    assert not application.heard and not carrier.heard
    world.durable()
    (answer,) = application.take(SubmitSmResp)
    carrier.take_one(b"17")
    carrier.deliver(receipt(b"17", MOBILE))
    assert application.reports() == [(answer.message_id, 2, b"000")]
    assert world.kinds == ["Accepted", "Dispatched", "Sent", "Receipt", "Reported"]
