"""Scheduling: the jobs of a study on processes of this machine or on Dask, stopped and taken up again anywhere.

`run_study` hands jobs to workers in the plan's order, writes each finished cell at once, and tries a job again whose
worker died; a `RunJob` is what runs one, and a `StudyRun` says what was done, what failed and why it stopped.
`begin_study` makes or takes up a folder, and refuses a plan under which records there would no longer be what they say;
`locked` keeps a second run out; `Pace` says what is left by the time that cells took.
Workers are behind two doors alike: processes (`_local_workers`) and Dask (`_dask_workers`).
"""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_names

if TYPE_CHECKING:
    from spectral_opt.study.scheduling._events import RunJob as RunJob
    from spectral_opt.study.scheduling.beginning import begin_study as begin_study, locked as locked
    from spectral_opt.study.scheduling.pace import Pace as Pace
    from spectral_opt.study.scheduling.run import StudyRun as StudyRun, run_study as run_study

if not TYPE_CHECKING:
    __getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
