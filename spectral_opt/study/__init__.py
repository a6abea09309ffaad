"""Study: what a way to fine-tune is, one run of it, what the result is worth, and a line of record for each run.

A `Method` is a file in `methods/` with the configurations that are attached to AdamW. `prepare_method` builds its
graphs once, `fine_tune` runs it on a copy of a model, the measures say what the tuned copy is worth beside another, and
`append_record` writes a `RunRecord` at once.

- Methods: `Method`, which changes a `Training` by its `Options`, `get_method`, `list_methods`; a new one is a file with
  a `METHOD` in `methods/`. Filters of a `FinishedTune`: `AfterTraining`, `get_after_training`, `list_after_training`; a
  new one is a file with an `AFTER` in `after_training/`. Options with defaults: `chosen_options`;
  before any work: `check_installed`, `check_values`.
- A study: `StudyPlan` of `Task`s, each of a `TaskKind` (`CLASSIFICATION`: `StudyTask`, `CAUSAL_LM`: `LanguageTask`),
  and of `Part` (`MethodGrid`, `AfterGrid`), cut into `Cell` and `Job`; a `Value` is what YAML and JSON both write. As a
  file: `read_plan`, `plan_from_text`, `plan_text`, `list_presets`; a new preset is a file in `presets/`.
- A job made real: `StudySetting`, by `open_setting`, with its `Batches` (`on_device`) and the `Anatomy` of its start;
  of classes `ClassifierSetting`, with `ProbeTask` and `EarlierTask`, of a language model that of the room `causal_lm`.
  Its texts: `read_job_texts`, `JobTexts` of `LabelledPart`, graphs of at most `TASK_BATCHES`. Before all jobs,
  `check_sources`, of what `sources_of`, `measured_on` and `unlabelled_data` name, by `refuse_shared_names` and
  `refuse_shared_texts`.
- Runs: `configs_of` a method under options, `prepare_method`, what is `kept_for` it, `fine_tune`, `FineTuned`.
- Running: `run_job` makes a job's records, on the CPU or a device that `open_device` finds; `read_device`
  reads the name of one that may be elsewhere.
- What a state of a job is worth, in `Metrics`: `StateMeasures` of its setting; of classes `ClassifierMeasures`, of
  `task_scores` and `mean_auc`.
- Measures: `accuracy_interval`, `paired_p_value`, `sign_flip_p_value`, `retention`, `neighbours_kept`,
  `relative_drift`; of single weights, `diagonal_fisher`.
- Records: `CellRecord` of a study, `RunRecord` of any other run, its `Stage`, `append_record`; files of results:
  `write_results`, `write_rows`.
- A study's folder: `save_plan`, `stored_plan`, `plan_content`, tuned weights in `STATES`; its records: `write_record`,
  `read_records`, which gives `FoundRecords`; a record alone: `record_text`, `record_from_json`, `record_of`
  a cell, `cell_of`, which texts it saw, `text_checksums`. How far it
  is: `study_status` (`StudyStatus`, `StatusRow`); cells run again: `verify_cells` (`VerifiedCell`). Its jobs run in a
  room of their own, `scheduling`.
- Claims: a `Hypothesis` of the plan, `check_hypotheses`, `read_hypotheses`; `judge` gives a `Verdict` of each, with
  every `Comparison`. Statistics are a room of their own, `statistics`.
- `open_inputs`: what `paramgraph compare` runs on, with a fine-tuned copy where that is asked for; the entry point
  `paramgraph.inputs` names its file.
"""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_names

if TYPE_CHECKING:
    from spectral_opt.study.classifier_setting import (
        ClassifierSetting as ClassifierSetting,
        ProbeTask as ProbeTask,
    )
    from spectral_opt.study.device import open_device as open_device, read_device as read_device
    from spectral_opt.study.evaluation import (
        accuracy_interval as accuracy_interval,
        neighbours_kept as neighbours_kept,
        paired_p_value as paired_p_value,
        relative_drift as relative_drift,
        retention as retention,
        sign_flip_p_value as sign_flip_p_value,
    )
    from spectral_opt.study.fine_tuning import (
        FineTuned as FineTuned,
        configs_of as configs_of,
        fine_tune as fine_tune,
        kept_for as kept_for,
        prepare_method as prepare_method,
    )
    from spectral_opt.study.fisher import diagonal_fisher as diagonal_fisher
    from spectral_opt.study.hypotheses import (
        Hypothesis as Hypothesis,
        check_hypotheses as check_hypotheses,
        read_hypotheses as read_hypotheses,
    )
    from spectral_opt.study.job_texts import (
        TASK_BATCHES as TASK_BATCHES,
        JobTexts as JobTexts,
        LabelledPart as LabelledPart,
        read_job_texts as read_job_texts,
    )
    from spectral_opt.study.method import (
        AfterTraining as AfterTraining,
        FinishedTune as FinishedTune,
        Method as Method,
        Options as Options,
        Training as Training,
        check_installed as check_installed,
        check_values as check_values,
        chosen_options as chosen_options,
        get_after_training as get_after_training,
        get_method as get_method,
        list_after_training as list_after_training,
        list_methods as list_methods,
    )
    from spectral_opt.study.opening import open_setting as open_setting
    from spectral_opt.study.plan import (
        AfterGrid as AfterGrid,
        Cell as Cell,
        Job as Job,
        LanguageTask as LanguageTask,
        MethodGrid as MethodGrid,
        Part as Part,
        StudyPlan as StudyPlan,
        StudyTask as StudyTask,
        Task as Task,
        Value as Value,
    )
    from spectral_opt.study.reading import (
        list_presets as list_presets,
        plan_content as plan_content,
        plan_from_text as plan_from_text,
        plan_text as plan_text,
        read_plan as read_plan,
        save_plan as save_plan,
        stored_plan as stored_plan,
    )
    from spectral_opt.study.records import (
        CAUSAL_LM as CAUSAL_LM,
        CLASSIFICATION as CLASSIFICATION,
        CellRecord as CellRecord,
        RunRecord as RunRecord,
        Stage as Stage,
        TaskKind as TaskKind,
        append_record as append_record,
        write_results as write_results,
        write_rows as write_rows,
    )
    from spectral_opt.study.running import run_job as run_job
    from spectral_opt.study.setting import (
        Anatomy as Anatomy,
        Batches as Batches,
        EarlierTask as EarlierTask,
        StudySetting as StudySetting,
        on_device as on_device,
    )
    from spectral_opt.study.state_measures import (
        ClassifierMeasures as ClassifierMeasures,
        Metrics as Metrics,
        StateMeasures as StateMeasures,
        mean_auc as mean_auc,
        task_scores as task_scores,
    )
    from spectral_opt.study.status import (
        StatusRow as StatusRow,
        StudyStatus as StudyStatus,
        study_status as study_status,
    )
    from spectral_opt.study.store import (
        STATES as STATES,
        FoundRecords as FoundRecords,
        cell_of as cell_of,
        read_records as read_records,
        record_from_json as record_from_json,
        record_of as record_of,
        record_text as record_text,
        text_checksums as text_checksums,
        write_record as write_record,
    )
    from spectral_opt.study.text_sources import (
        check_sources as check_sources,
        measured_on as measured_on,
        refuse_shared_names as refuse_shared_names,
        refuse_shared_texts as refuse_shared_texts,
        sources_of as sources_of,
        unlabelled_data as unlabelled_data,
    )
    from spectral_opt.study.tuned_inputs import open_inputs as open_inputs
    from spectral_opt.study.verdicts import Comparison as Comparison, Verdict as Verdict, judge as judge
    from spectral_opt.study.verification import VerifiedCell as VerifiedCell, verify_cells as verify_cells

if not TYPE_CHECKING:
    __getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
