"""The channel between the training workers and the driver: an actor that holds messages."""

import asyncio
from collections import deque
from queue import Empty
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.pretrain.messages import Message


class Mailbox:
    """The actor: messages that the driver has not taken yet, and whether it wants training to end.

    Its methods are coroutines, so that one can wait while the others answer.
    """

    def __init__(self) -> None:
        self._messages: deque[Message] = deque()
        self._stop = asyncio.Event()

    async def put(self, message: Message) -> None:
        """Keep a message."""
        self._messages.append(message)

    async def get(self) -> Message | None:
        """Return the oldest message, None if there is none."""
        if not self._messages:
            return None
        return self._messages.popleft()

    async def ask_to_stop(self) -> None:
        """Let `stop_asked` return."""
        self._stop.set()

    async def stop_asked(self) -> None:
        """Return once the driver wants training to end."""
        await self._stop.wait()


class Channel:
    """A handle of a mailbox, for the driver and for workers.

    Args:
        mailbox: Ray's handle of the actor.
    """

    def __init__(self, mailbox: Any) -> None:
        self._mailbox = mailbox
        # The answer that comes when training shall end. Every process waits for its own.
        self._answer: ray.ObjectRef | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Channel, (self._mailbox,)

    def put_nowait(self, message: Message) -> None:
        """Put a message into the mailbox."""
        ray.get(self._mailbox.put.remote(message))

    def get_nowait(self) -> Message:
        """Take the oldest message.

        Raises:
            Empty: there is none.
        """
        message = ray.get(self._mailbox.get.remote())
        if message is None:
            raise Empty
        return message

    def ask_to_stop(self) -> None:
        """Tell the workers that training shall end. This does not wait for them."""
        self._mailbox.ask_to_stop.remote()

    def stop_asked(self) -> bool:
        """True if the driver wants training to end. Nobody is asked: the answer comes by itself."""
        if self._answer is None:
            self._answer = self._mailbox.stop_asked.remote()
        answered, _ = ray.wait([self._answer], timeout=0)
        if not answered:
            return False
        try:
            ray.get(self._answer)
        except RayError:
            # The mailbox is lost. The driver notices that itself.
            return False
        return True

    def shutdown(self) -> None:
        """End the mailbox."""
        ray.kill(self._mailbox)


def open_channel() -> Channel:
    """Open a channel from the workers to the driver.

    Its mailbox is on the driver's node: there it lives as long as the run, whatever becomes of the
    workers' nodes.
    """
    node = ray.get_runtime_context().get_node_id()
    here = NodeAffinitySchedulingStrategy(node, soft=False)
    mailbox = ray.remote(Mailbox).options(num_cpus=0, scheduling_strategy=here).remote()
    return Channel(mailbox)
