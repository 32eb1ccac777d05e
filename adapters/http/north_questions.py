"""Questions to a service for its next unit: POST without body, which waits there if the service lets it.

A question says that all units before the one that it asks for have arrived, so it is asked only when the gateway has
delivered or stored these. A service that answers at once and without a unit is asked ever less often; one that refuses
questions is no longer asked.
"""

from __future__ import annotations

import asyncio
from typing import Final

from adapters.http.north_arrivals import Arrivals
from adapters.http.north_client import Answered, Failed, ServiceClient
from adapters.http.north_config import NorthTimes
from adapters.http.north_ports import GONE, MISSING, Home, ServiceEnd
from carriage.http.atls_client import SessionRefused, applied_wait, read_request, read_unit
from gateway.api.errors import PeerError
from gateway.api.model import Reason

_REFUSED: Final = frozenset({400, 405, 411, 415})
"""What a service answers that knows no questions."""
_CROWDED: Final = 5
"""Seconds that a question waits if those of other sessions wait for their turn."""


def longer(pause: float, times: NorthTimes) -> float:
    """The pause after one between questions that a service didn't let wait."""
    return min(max(2 * pause, times.poll_pause), times.longest_poll_pause)


class Questions:
    """Those of one session. One is under way at most."""

    def __init__(self, home: Home, end: ServiceEnd, arrivals: Arrivals) -> None:
        self._home = home
        self._end = end
        self._arrivals = arrivals
        self._task: asyncio.Task[None] | None = None
        self._asking = False
        self._wanted = 0
        """The number of the unit that was asked for last."""
        self._sent_on = False
        """The service has said once already where to go on; one that says so for ever is asked ever less often."""

    @property
    def going_on(self) -> bool:
        return self._task is not None

    def begin(self) -> None:
        """Ask from now on, if the config has it so; or once, if a unit is missing."""
        if self._task is not None:
            return
        end = self._end
        wanted = self._home.client(end.url).service.table.poll or (self._arrivals.ahead and end.numbers)
        if wanted and end.opened and not end.over:
            self._task = self._home.spawn(self._run())

    def stop(self) -> None:
        """Also the one that waits at the service: its connection ends."""
        task, self._task = self._task, None
        if task is not None and task is not asyncio.current_task():
            task.cancel()

    def yield_to_unit(self) -> None:
        """Our next unit is about to go out. Answers without numbers must not come at once: their order would be
        unknown."""
        if self._asking and not self._end.numbers:
            self.stop()

    async def farewell(self, within: float) -> None:
        """The session was deleted at the service: the question is answered now, too, which saves its connection."""
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=within)
        self.stop()

    async def _run(self) -> None:
        try:
            await self._ask_on()
        finally:
            if self._task is asyncio.current_task():
                self._task = None

    async def _ask_on(self) -> None:
        times, pause, ahead, loop = self._home.times, 0.0, 0, asyncio.get_running_loop()
        while not self._end.over:
            pause = await self._rest(pause, ahead)
            if not await self._arrivals.settled():
                return
            client = self._home.client(self._end.url)
            wait = client.service.table.poll
            if not wait and not self._arrivals.ahead:
                return
            if client.polls.locked():
                wait = min(wait, _CROWDED)
            async with client.polls:
                asked_at, ahead = loop.time(), self._arrivals.ahead
                result = await self._question(client, 0 if ahead else wait)
            again = self._hear(result, wait, loop.time() - asked_at)
            if again is None:
                return
            pause = 0.0 if again else longer(pause, times)

    async def _question(self, client: ServiceClient, wait: int) -> Answered | Failed:
        end = self._end
        target = end.location if end.location is not None else client.service.path
        self._wanted = self._arrivals.next_in
        request = read_request(target, self._wanted, wait or None)
        self._asking = True
        try:
            return await client.ask(request, end.cookies, again=end.numbers, wait=wait, wanted=lambda: not end.over)
        finally:
            self._asking = False

    def _hear(self, result: Answered | Failed, wait: int, took: float) -> bool | None:
        """What becomes of an answer. True: ask again at once, False: after a pause, None: never.

        ``took``: seconds; a service that says that it waited, and didn't, would have us ask without end.
        """
        end, arrivals = self._end, self._arrivals
        if end.over:
            return None
        if isinstance(result, Failed):
            if result.reason is Reason.TOO_LARGE or (result.reason is Reason.BROKEN and result.sent):
                end.give_up(result.reason, result.detail)
            return False
        end.link = result.link
        try:
            found = read_unit(result.response)
        except PeerError as error:
            end.give_up(Reason.BROKEN, str(error))
            return None
        if isinstance(found, SessionRefused):
            if found.expected is not None and arrivals.go_on_at(found.expected):
                before, self._sent_on = self._sent_on, True
                return not before
            if found.status in GONE:
                end.end(Reason.CLOSED if found.reason == "closed" else Reason.UNKNOWN)
            elif arrivals.ahead and end.is_stream:
                end.give_up(Reason.BROKEN, MISSING)
            return None if found.status in _REFUSED else False
        if found is not None:
            if found.n is not None and not end.numbers:
                end.numbers = True
                self._home.changed()
            crossed = arrivals.next_in > self._wanted  # what was asked for came in the answer to our own unit
            return arrivals.take(found) or crossed
        if arrivals.ahead and end.is_stream:
            end.give_up(Reason.BROKEN, MISSING)
        arrivals.ahead = 0
        applied = applied_wait(result.response)
        return took >= max(1.0, (wait if applied is None else min(wait, applied)) / 2)

    async def _rest(self, pause: float, ahead: int) -> float:
        """Pause between questions; if something comes meanwhile, the short pause counts from then on. ``ahead``: that
        of the last question; if a unit is missing since then there is no pause."""
        arrivals = self._arrivals
        while pause and arrivals.ahead <= ahead and not self._end.over:
            arrivals.changed.clear()
            try:
                async with asyncio.timeout(pause):
                    await arrivals.changed.wait()
            except TimeoutError:
                break
            pause = self._home.times.poll_pause
        return pause
