"""Running a program on the preloaded payments, and timing it from outside by its group's offsets."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from aiokafka import AIOKafkaConsumer, TopicPartition

# Start-up, joining the group and the first fetches are not throughput.
WARM_UP = 0.2
_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Figure:
    """Payments per second of one program in one run."""

    per_second: float
    cpu_seconds: float

    @property
    def microseconds(self) -> float:
        """Time per payment."""
        return 1e6 / self.per_second


async def _progress(consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition], group: str | None) -> int:
    if group is None:  # what has been written, for a program whose commits lag behind
        return sum((await consumer.end_offsets(list(partitions))).values())
    return sum([await consumer.committed(partition) or 0 for partition in partitions])


async def run(
    command: Sequence[str],
    *,
    bootstrap: str,
    topic: str,
    partitions: int,
    count: int,
    group: str,
    environment: Mapping[str, str] | None = None,
    by_output: str | None = None,
    seconds: float = 120,
) -> Figure:
    """Run `command` until its group has committed all `count` payments, and return its rate.

    Arguments:
        by_output: measure by what appears in this topic, instead of by committed offsets.
    """
    watched = [TopicPartition(by_output or topic, number) for number in range(partitions)]
    # This client only looks: it never subscribes, so it is no member of the group.
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False)
    await consumer.start()
    with tempfile.TemporaryFile() as log:
        process = await asyncio.create_subprocess_exec(
            *command, env={**os.environ, **(environment or {})}, stdout=log, stderr=log
        )
        try:
            return await _time(consumer, watched, None if by_output else group, count, process, seconds)
        except BaseException:
            log.seek(0)
            sys.stderr.write(log.read().decode(errors="replace")[-3000:])
            raise
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGKILL)
            await process.wait()
            await consumer.stop()


async def _time(
    consumer: AIOKafkaConsumer,
    watched: Sequence[TopicPartition],
    group: str | None,
    count: int,
    process: asyncio.subprocess.Process,
    seconds: float,
) -> Figure:
    give_up = time.monotonic() + seconds
    began: tuple[float, int] | None = None
    while True:
        done, now = await _progress(consumer, watched, group), time.monotonic()
        if began is None and done >= count * WARM_UP:
            began = now, done
        if done >= count:
            break
        if process.returncode is not None:
            raise RuntimeError(f"the program ended with status {process.returncode}")
        if now > give_up:
            if began is None or done <= began[1]:
                raise TimeoutError(f"{done} of {count} payments after {seconds} s")
            break
        await asyncio.sleep(_POLL_SECONDS)
    assert began is not None
    return Figure((done - began[1]) / max(now - began[0], 1e-9), _cpu_seconds(process.pid))


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
