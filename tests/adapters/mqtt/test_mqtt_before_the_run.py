"""The adapter between its configuration and its run: what ``status`` says, and what becomes of transmits."""

from __future__ import annotations

import asyncio

from tests.adapters.mqtt.mqtt_home import MqttHome, Start
from tests.harness.gateway_in_loop import until


async def configured(home: MqttHome) -> None:
    """The home's adapter is another, which the hub knows and which does not run yet."""
    home.tasks["mqtt"].cancel()
    await until(lambda: home.tasks["mqtt"].done())
    home.adapter = home.configure()


async def test_the_status_has_its_keys_before_the_run_and_its_counts_after_it(start: Start) -> None:
    home = await start(devices={})
    before, running = home.configure().status(), home.adapter.status()
    later = {"unread", "unsent"}  # of the client
    assert set(running) - set(before) == later and set(running["devices"]) - set(before["devices"]) == later
    assert set(before) < set(running) and list(before) == [key for key in running if key in before]
    assert (before["connected"], running["connected"]) == (False, True)
    assert (before["link"], before["version"], before["users"]) == ("none", running["version"], 0)
    assert (before["devices"]["watching"], before["devices"]["states"]) == (False, 0)
    home.tasks["mqtt"].cancel()
    await until(lambda: home.tasks["mqtt"].done())
    after = home.adapter.status()
    assert (after["connected"], after["attempts"], after["devices"]["attempts"]) == (False, 1, 1)


async def test_transmits_of_before_the_run_go_out_in_it_and_one_that_was_withdrawn_does_not(home: MqttHome) -> None:
    await configured(home)
    app = await home.user("app")
    context = home.hub.attach("mqtt", home.adapter)
    kept, withdrawn = home.far.open("app"), home.far.open("app")
    await until(lambda: len(home.adapter._early) == 2)
    home.adapter.withdraw(home.adapter._early[1].envelope.id)
    async with asyncio.TaskGroup() as tasks:
        run = tasks.create_task(home.adapter.run(context))
        await until(app.incoming)
        other = home.far.open("app")
        await until(lambda: len(app.incoming()) == 2)
        run.cancel()
    assert [each.session for each in app.incoming()] == [kept, other] and withdrawn not in (kept, other)
    home.hub.detach(context)
