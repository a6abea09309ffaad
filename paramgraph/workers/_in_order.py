"""Results of calls in the order in which these were given out, whoever makes them and whoever dies."""

import itertools
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from paramgraph.workers._sending import opened, pickled
from paramgraph.workers.processes import Death

# How often a call is tried again whose worker died: one that kills its worker would do so for ever.
TRIES_MORE = 2
# Of calls: a later one may have the name of one whose worker has yet to be found dead.
_NUMBERS = itertools.count(1)
# Any: what calls give is for those who make them to say.
Calls: TypeAlias = Iterator[tuple[str, Callable[[], Any]]]
Results: TypeAlias = Iterator[tuple[str, Any]]
OnResult: TypeAlias = Callable[[str, Any], object]


@dataclass(frozen=True)
class GivenUp:
    """In place of a result: the workers that made the call died, again and again."""

    reason: str


@dataclass(frozen=True)
class Replaced:
    """A worker that died, in whose place another one has been tried already."""

    worker: str


class SentTo(Protocol):
    """Those to whom calls are sent: `WorkerProcesses`, or what is like them."""

    def free(self) -> int:
        """Count those that have nothing to do."""

    def start(self, task: str, message: bytes) -> None:
        """Send one of them a call."""

    def heard(self) -> Iterable[tuple[str, Any]]:
        """Give results, `Death`s and what is `Replaced`, after a second at most."""


def results_in_order(workers: SentTo, calls: Calls, on_result: OnResult, remarks: list[str]) -> Results:
    """Keep workers busy with the next call made ready; what a call raises is raised here.

    `on_result` has each as it comes; deaths go into `remarks`.
    """
    order: deque[str] = deque()
    sent: dict[str, bytes] = {}
    done: dict[str, Any] = {}
    deaths: Counter[str] = Counter()
    ahead, is_over = "", False
    while True:
        while order and order[0] in done:
            task = order.popleft()
            yield _name(task), done.pop(task)
        if not ahead and not is_over:
            following = next(calls, None)
            if following is None:
                is_over = True
            else:
                ahead = f"{next(_NUMBERS)} {following[0]}"
                sent[ahead] = pickled(following)
                order.append(ahead)
            del following  # what it holds is made anew while this name would still keep it
            continue
        if ahead and workers.free() > 0:
            workers.start(ahead, sent[ahead])
            ahead = ""
            continue
        if not order:
            return
        for task, said in workers.heard():
            name = _name(task)
            if isinstance(said, Replaced):
                remarks.append(f"A worker died ({said.worker}) at {name}.")
                continue
            if isinstance(said, Death):
                deaths[task] += 1
                remarks.append(f"A worker died ({said.how}) at {name}.")
                if said.never_began:
                    raise ValueError(
                        f"a process ended as it started ({said.how}; what it wrote says why): it imports the script "
                        'that gives workers, which needs `if __name__ == "__main__":` around what it runs'
                    )
                if task not in sent:  # the result was its last word, maybe of an earlier round
                    continue
                if deaths[task] <= TRIES_MORE:
                    workers.start(task, sent[task])
                    continue
                said = GivenUp(f"given up after {deaths[task]} tries, the last worker died: {said.how}")
            result = opened(said) if isinstance(said, bytes) else said
            if isinstance(result, Exception):
                raise result
            del sent[task]
            on_result(name, result)
            done[task] = result


def _name(task: str) -> str:
    return task.partition(" ")[2]
