"""Statistics of a study: records in, frozen values out; nothing here knows of pages.

- At equal score, by interpolation on scaling curves: `least_lost`, `scaling_curve`, `whole_path`, what is lost, a
  `Cost`, at a `Score`; which of the `SCORES` of a kind of task: `tuned_by`, `compared_at`, `level_of`. Fronts:
  `hypervolume`.
- Paired by seed: `summarize_paired` gives a `PairedSummary`; `one_sided_p_value`, `minimum_detectable`,
  `two_level_interval` over seeds and texts.
- Effects of records by seed: a `Measure` of a `Kind` (`RATIOS`; of `COSTS` less is better), `lost_measure`,
  `seed_effects`, `pooled_effects` over tasks, `SeedEffects`; `answers_of` a record.
- Convergence: `smoothed_losses`, `best_smoothed_loss`, `reached_at`.
- Stability: `loss_spikes`, `spread`, `compare_spreads`, `rate_sensitivity` (`RateSensitivity`).
- Tuning: `select` gives a `Selection` of what was `Tried`; the `gate` (`Gate`); `budgets` (`Budget`).
- Names of methods: `label_of`, `full_label`, `telling_label`, `has_label` of a `Variant`; `read_label`.
"""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_names

if TYPE_CHECKING:
    from spectral_opt.study.statistics._convergence import (
        best_smoothed_loss as best_smoothed_loss,
        reached_at as reached_at,
        smoothed_losses as smoothed_losses,
    )
    from spectral_opt.study.statistics._effects import (
        COSTS as COSTS,
        RATIOS as RATIOS,
        Kind as Kind,
        Measure as Measure,
        SeedEffects as SeedEffects,
        answers_of as answers_of,
        lost_measure as lost_measure,
        pooled_effects as pooled_effects,
        seed_effects as seed_effects,
    )
    from spectral_opt.study.statistics._equal_score import (
        SCORES as SCORES,
        Cost as Cost,
        Score as Score,
        compared_at as compared_at,
        least_lost as least_lost,
        level_of as level_of,
        scaling_curve as scaling_curve,
        tuned_by as tuned_by,
        whole_path as whole_path,
    )
    from spectral_opt.study.statistics._hypervolume import hypervolume as hypervolume
    from spectral_opt.study.statistics._labels import (
        Variant as Variant,
        full_label as full_label,
        has_label as has_label,
        label_of as label_of,
        read_label as read_label,
        telling_label as telling_label,
    )
    from spectral_opt.study.statistics._paired import (
        PairedSummary as PairedSummary,
        minimum_detectable as minimum_detectable,
        one_sided_p_value as one_sided_p_value,
        summarize_paired as summarize_paired,
        two_level_interval as two_level_interval,
    )
    from spectral_opt.study.statistics._selection import (
        Budget as Budget,
        Gate as Gate,
        Selection as Selection,
        Tried as Tried,
        budgets as budgets,
        gate as gate,
        select as select,
    )
    from spectral_opt.study.statistics._stability import (
        RateSensitivity as RateSensitivity,
        compare_spreads as compare_spreads,
        loss_spikes as loss_spikes,
        rate_sensitivity as rate_sensitivity,
        spread as spread,
    )

if not TYPE_CHECKING:
    __getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
