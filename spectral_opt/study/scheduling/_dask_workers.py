"""Workers of a Dask cluster: they get plain values, and hand each record back to the one process that writes it.

The scheduler starts a task again by itself where its worker died, with what was known when it was first sent. So each
try has a name that its first worker puts down; a second one finds it, does nothing, and the job is sent anew.
"""

import json
import queue
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from paramgraph.errors import one_line
from paramgraph.workers import PATIENCE, WAIT, alone_on_one_thread, connect_to_scheduler
from spectral_opt.study import STATES, Job, StudyPlan
from spectral_opt.study.scheduling._events import Event, Known, RunJob, Workers, work_through

if TYPE_CHECKING:
    from distributed import Client, Future


class DaskWorkers:
    """The processes that are connected to a scheduler, as many as there are at the time."""

    def __init__(self, client: "Client", address: str, plan: StudyPlan, run: RunJob) -> None:
        from spectral_opt.study import plan_text

        self._client, self._address, self._run = client, address, run
        self._plan = plan_text(plan)
        self._topic = f"study-{uuid.uuid4().hex}"
        self._tries: dict[str, tuple[str, Future]] = {}  # by job: the name of the try, and what it will give
        self._told: set[tuple[str, int]] = set()
        self._news: queue.Queue[tuple[str, list[str] | Future]] = queue.Queue()
        self._seen = time.monotonic()
        client.subscribe_topic(self._topic, lambda event: self._news.put(("", [event[1]])))

    def free(self) -> int:
        """Count those that have nothing to do."""
        return len(self._client.nthreads()) - len(self._tries)

    def start(self, job: Job, known: Known, seconds: float | None) -> None:
        """Send a job."""
        name = uuid.uuid4().hex
        future = self._client.submit(
            _run_remotely,
            *(self._plan, job.name, dict(known), seconds, name, self._topic, self._run),
            key=f"{self._topic}-{name}",
            pure=False,
        )
        self._tries[job.name] = (name, future)
        future.add_done_callback(lambda done: self._news.put((job.name, done)))

    def events(self) -> Iterator[Event]:
        """Give what has happened, after a second at most; OSError where there is nobody any more to wait for."""
        self._check_company()
        try:
            job, news = self._news.get(timeout=WAIT)
        except queue.Empty:
            return
        if isinstance(news, list):
            yield from self._heard(news)
            return
        if job not in self._tries or self._tries[job][1] is not news:
            return
        if news.status == "finished":
            yield from self._heard(news.result())
            return
        if news.status != "error":
            raise OSError(f"the scheduler at {self._address} has lost the study; finished cells are kept")
        del self._tries[job]
        yield Event("died", job, text=one_line(news.exception())[:300])

    def stop(self) -> None:
        """Take back what was sent; what is being measured is lost."""
        self._client.unsubscribe_topic(self._topic)
        self._client.cancel([future for _, future in self._tries.values()])

    def _heard(self, texts: list[str]) -> Iterator[Event]:
        """Read what a worker said, once: it says it as it happens, and all of it again at the end."""
        for text in texts:
            said = json.loads(text)
            event, saying = Event(**said["event"]), (said["call"], said["number"])
            if saying in self._told or self._tries.get(event.job, ("",))[0] != said["try"]:
                continue
            self._told.add(saying)
            if event.kind in ("finished", "died"):
                del self._tries[event.job]
            yield event

    def _check_company(self) -> None:
        if self._client.nthreads():
            self._seen = time.monotonic()
        elif time.monotonic() - self._seen > PATIENCE:
            raise OSError(
                f"no worker is connected to the scheduler at {self._address}: start some, and run again; finished "
                "cells are kept"
            )


@contextmanager
def dask_workers(address: str, plan: StudyPlan, run: RunJob) -> Iterator[Workers]:
    """Connect to a scheduler, and leave it as it was; ImportError without dask, OSError where nobody answers."""
    with connect_to_scheduler(address, PATIENCE) as client:
        workers = DaskWorkers(client, address, plan, run)
        try:
            yield workers
        finally:
            workers.stop()


def _run_remotely(
    plan: str, job_name: str, known: Known, seconds: float | None, name: str, topic: str, run: RunJob
) -> list[str]:
    """Run a job on a worker; what it says goes to the topic at once, and is given back at the end."""
    from distributed import get_client, get_worker

    from spectral_opt.study import plan_from_text, record_text

    worker, client = get_worker(), get_client()
    said: list[str] = []
    call = uuid.uuid4().hex  # the scheduler may make a second one of a try

    def tell(event: Event) -> None:
        said.append(json.dumps({"event": asdict(event), "try": name, "call": call, "number": len(said)}))
        worker.log_event(topic, said[-1])

    before = client.get_metadata([topic, name], default="")
    if before:
        tell(Event("died", job_name, text=f"worker {before}"))
        return said
    client.set_metadata([topic, name], worker.address)
    with alone_on_one_thread():
        read = plan_from_text(plan)
        job = next(job for job in read.jobs() if job.name == job_name)
        states = Path(worker.local_directory, STATES)
        work_through(run, read, job, known, seconds, states, lambda cell, record: record_text(record), tell)
    return said
