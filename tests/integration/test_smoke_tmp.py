from tests.integration.world import World
from tests.integration.application import *
def test_it(world: World) -> None:
    with Application(world.port) as app:
        assert app.bind() == 0
        ids = app.submit_all(submit_sm(i) for i in range(1000))
        app.await_deliveries(1000)
        assert sorted(app.receipts()) == sorted(ids)
        print(world.status(), world.rss_mib())
        app.unbind()
