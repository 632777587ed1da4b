"""The channel between lanes and an agent: a Faust topic that Faust's own consumer does not feed.

``@app.agent(batches(app, "payment.completed"))`` makes an ordinary Faust agent: it is listed by
``faust agents`` with its topic, tested with ``agent.test_context()`` and supervised by Faust. Only what
it iterates over is ours: batches, handed over by the lanes of its :class:`~streams.delivery.source.Source`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import faust
from faust import App
from faust.types import ChannelT
from mode.utils.queues import ThrowableQueue

from streams.delivery.batch import Batch
from streams.delivery.guarantee import Finishing
from streams.failure.errors import AgentContractBroken


class Handoff(ThrowableQueue):  # type: ignore[type-arg]
    """The queue between lanes and the actors of one agent, which also watches the agent's side.

    An agent that ends, or asks for a batch while it still has one in hand, has lost that batch: Faust
    would start it again with the batch forgotten and its lane waiting for ever. So both are reported.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._in_hand: WeakKeyDictionary[asyncio.Task[Any], tuple[Batch, int]] = WeakKeyDictionary()
        self._report: Callable[[AgentContractBroken], None] | None = None

    def watch(self, report: Callable[[AgentContractBroken], None]) -> None:
        """Report breaches of the agent's contract from now on."""
        self._report = report

    def unwatch(self) -> None:
        """The worker is stopping: actors may end."""
        self._report = None

    def expect_empty_hands(self) -> None:
        """Check, as an actor asks for its next batch, that it has finished the one before."""
        task = asyncio.current_task()
        held = self._in_hand.get(task) if task is not None else None
        if held is None or self._report is None:
            return
        batch, offers = held
        # A batch that was given back may be in another actor's hands by now.
        if batch.offers == offers and not batch.released:
            self._report(AgentContractBroken(f"the agent took another batch without having finished {batch!r}"))

    def get_nowait(self) -> Batch:
        """Hand a batch to the actor that asks."""
        self.expect_empty_hands()
        batch: Batch = super().get_nowait()
        task = asyncio.current_task()
        if task is not None:
            if task not in self._in_hand:
                task.add_done_callback(self._actor_ended)
            self._in_hand[task] = batch, batch.offers
        return batch

    def _actor_ended(self, task: asyncio.Task[Any]) -> None:
        if self._report is not None:
            how = "was cancelled" if task.cancelled() else "ended"
            error = None if task.cancelled() else task.exception()
            broken = AgentContractBroken(f"an actor {how}" + (f": {type(error).__name__}" if error else ""))
            broken.__cause__ = error
            self._report(broken)


class BatchTopic(faust.Topic):
    """A topic whose iterator yields batches; all its clones share one hand-off queue.

    Attributes:
        handoff: the queue.
        dead_letters: see :func:`batches`.
        finish: likewise.
    """

    def __init__(
        self,
        app: App,
        *,
        handoff: Handoff | None = None,
        dead_letters: bool = True,
        finish: Finishing | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(app, **kwargs)
        self.handoff = handoff or Handoff(flow_control=app.flow_control)
        self.dead_letters = dead_letters
        self.finish = finish
        self._queue = self.handoff

    def _clone_args(self) -> Mapping[str, Any]:
        own = {"handoff": self.handoff, "dead_letters": self.dead_letters, "finish": self.finish}
        return {**super()._clone_args(), **own}

    def get_topic_name(self) -> str:
        """Name what is read, for Faust's list of agents; Faust itself has no name for several topics."""
        return ", ".join(self.topics)

    def __aiter__(self) -> ChannelT[Any]:
        """Iterate without telling Faust's conductor, which would subscribe its own consumer."""
        return self if self.is_iterator else self.clone(is_iterator=True)

    async def __anext__(self) -> Any:
        """Wait for the next batch."""
        self.handoff.expect_empty_hands()
        return await self.handoff.get()


def batches(app: App, *topics: str, dead_letters: bool = True, finish: Finishing | None = None) -> BatchTopic:
    """Declare what an agent reads: batches of records of one or several topics.

    Arguments:
        app: the Faust application.
        topics: their names.
        dead_letters: False for an agent that reads dead letters itself: a record it cannot handle is
            counted as skipped, because a dead letter of a dead letter helps nobody.
        finish: where the effects go that the handler asks for; without it there are outputs only, under the
            guarantee of the settings.
    """
    return BatchTopic(app, topics=topics, dead_letters=dead_letters, finish=finish, key_type=bytes, value_type=bytes)
