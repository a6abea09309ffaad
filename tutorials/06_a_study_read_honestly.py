# %% [markdown]
# # 06 · A study, read honestly
#
# [![Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/paramgraph/paramgraph/blob/main/tutorials/06_a_study_read_honestly.ipynb)
#
# Notebook 05 refined one fine-tune, under one seed, and the graph of preserved text beat plain scaling. **Does it
# hold up?** A study answers with many seeds, several tasks, rivals and nulls that were tuned too, and claims that were
# written down first. This notebook reads its committed records. It trains nothing.
#
# You will learn to
#
# - tell what a study *planned* from what it *found*, and see at once what is missing;
# - see how far single seeds scatter, and what one of them would have told you;
# - compare at equal score, seed by seed, beside the nulls;
# - read a verdict: confirmed, refuted or undecided, after a correction for all claims at once;
# - find the seven ways in which you could still be fooled.
#
# It takes about 15 minutes to read and a minute to run. It needs `pip install 'paramgraph[compare]'` and the
# records, which lie beside this notebook in the repository: **every number and every verdict below is computed from
# the records that were there when this page was made**.

# %%
from importlib.util import find_spec

if find_spec("paramgraph") is None:  # as on Colab
    # %pip install --quiet "paramgraph[compare]"
    # !git clone --quiet --depth 1 https://github.com/paramgraph/paramgraph repository
    pass

# %%
import os
import warnings
from pathlib import Path

FAST = bool(os.environ.get("PARAMGRAPH_FAST"))  # PARAMGRAPH_FAST=1: the first of the tasks alone
warnings.filterwarnings("ignore", "IProgress not found")  # no notebook widgets are needed here

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from paramgraph.display import MIDDLE_GREY, PALETTE
from spectral_opt.study import judge, read_records, stored_plan, study_status
from spectral_opt.study.report import Overview, baseline_of, draw_front, marks_of_parts
from spectral_opt.study.statistics import Measure, budgets, lost_measure, seed_effects

plt.style.use("paramgraph.plotting.figures")
pd.set_option("display.max_colwidth", None)

here = Path("records/study")
folder = here if here.exists() else Path("repository/tutorials") / here

# %% [markdown]
# ## The plan
#
# A study is one YAML file and one folder of records. The plan says what will be run: in **tuning** parts strengths
# are chosen, on development texts and seeds of their own; **confirmation** parts run what was chosen, once, on other
# seeds and on test texts. Nothing is picked there any more.

# %%
plan = stored_plan(folder)
found = read_records(folder, plan)
overview = Overview(plan, found.records, found.refused)
print(plan.title)
pd.DataFrame(
    {
        "part": part.name,
        "stage": part.stage,
        "tasks": ", ".join(part.tasks),
        "examples a class": ", ".join(map(str, part.shots)),
        "seeds": len(part.seeds),
    }
    for part in plan.parts
).set_index("part")

# %% [markdown]
# Claims are part of the plan, with the numbers that would decide them. Read them now, before any result: what you
# read afterwards you will find plausible whatever it says. (A claim that was added later says so, and why. It is
# worth less, even where it is tested on fresh seeds: something was seen before it was made.)

# %%
for claim in plan.hypotheses:
    print(f"{claim['id']}: {claim['claim']}")

# %% [markdown]
# Is the tuning fair? A method that was tried with ten strengths beats one that was tried with two, for no other
# reason. Here each filter of a finished fine-tune began with as many values, and where the best stood at an end of
# them, two more were tried; methods of training have grids of their own, which the table counts. The budget of each,
# over all tuning parts; a null that has its own budget is a line of its own.

# %%
spent = pd.DataFrame(
    {"part": one.part, "tried": one.label, "variants": one.variants} for one in budgets(plan)
)
spent.pivot_table(index="tried", columns="part", values="variants", fill_value=0).astype(int)

# %% [markdown]
# ## What is there
#
# A cell is one run: a method with its options, a task, a seed. What is missing is missing by name, and what was
# refused (a damaged file, a record of other settings) is not counted. A study that does not say what is missing is
# not to be read at all.

# %%
status = study_status(plan, found)
print(
    f"{status.done:,} of {status.cells:,} cells are recorded; {status.diverged} diverged, {len(status.refused)} refused"
)
pd.DataFrame(
    {"part": row.part, "task": row.task, "cells": row.cells, "recorded": row.done, "diverged": row.diverged}
    for row in status.rows
).set_index(["part", "task"])

# %% [markdown]
# ## One seed is an anecdote
#
# A filter loses some share of the neighbours, at some price in the task's score. The fair question is: **at the
# score that costs AdamW .01 of its AUC, what share of what scaling loses does the filter lose?** Below 1 is better
# than scaling. Each dot is one seed. Filled is the graph of preserved text, hollow are the same graph with its nodes
# permuted and with random directions: the same eigenvalues, and no knowledge of the text.

# %%
measure = lost_measure("auc", -0.01)


def of_product(own):
    return [series for series in own if series.label == "adamw+product" and series.finished]


# Of the parts that confirm, those of finished fine-tunes: others are about training, and have no filter after it.
panels = {
    panel: own for panel, own in overview.shown.items() if panel.stage == "confirmation" and of_product(own)
}
fullest = max(panels, key=lambda panel: sum(len(one.runs) for one in panels[panel])) if panels else None
if fullest is None:
    panels = overview.shown  # nothing is confirmed yet: tuning is looked at, and no claim can be made
    fullest = max(panels, key=lambda panel: sum(len(one.runs) for one in panels[panel]))
if FAST:
    panels = {fullest: panels[fullest]}


def ratios(panel, series):
    """What a series loses over what scaling AdamW's change loses at the same AUC, a number for each seed."""
    plain = baseline_of(panels[panel])
    effects = seed_effects(measure, series.runs, plain.runs, plain.runs)
    return np.exp([value for value in effects.values.values() if np.isfinite(value)]), effects


figure, axes = plt.subplots(1, len(panels), figsize=(3.1 * len(panels), 3.1), sharey=True, squeeze=False)
for ax, (panel, own) in zip(axes[0], panels.items(), strict=True):
    for place, series in enumerate(of_product(own)):
        values = np.sort(ratios(panel, series)[0])
        spread = np.linspace(-0.3, 0.3, len(values)) if len(values) > 1 else [0]
        ax.plot(
            place + np.array(spread),
            values,
            "o",
            color=PALETTE[6] if series.is_null else PALETTE[0],
            markerfacecolor="white" if series.is_null else PALETTE[0],
            markersize=4.5,
        )
    names = [series.control or "product" for series in of_product(own)]
    ax.axhline(1, color=MIDDLE_GREY, linewidth=0.9, linestyle=(0, (4, 3)))
    ax.set(title=f"{panel.task}\n{panel.part}, {panel.shots} a class", yscale="log")
    ax.set_xticks(range(len(names)), names, rotation=30, ha="right")
    ax.grid(axis="y")
axes[0][0].set_ylabel("lost, over what scaling loses")
axes[0][0].set_yticks(SHARES := [0.3, 0.5, 0.7, 1, 1.4], map(str, SHARES))
axes[0][0].minorticks_off()
plt.show()

# %%
for panel, own in panels.items():
    for series in of_product(own):
        values, effects = ratios(panel, series)
        if len(values):
            told = (
                f"{panel.part:14} {series.control or 'product':10} seeds: {len(values):2d}; geometric mean "
            )
            told += f"{np.exp(np.log(values).mean()):.2f}; the luckiest {values.min():.2f}"
            print(f"{told}, the unluckiest {values.max():.2f}")
        for reason in sorted(set(effects.left_out.values())):
            print(f"{panel.part:14} {'':10} left out: {reason}")

# %% [markdown]
# Whoever had run the luckiest seed alone would have written another paper than whoever had run the unluckiest. What
# counts is the mean over seeds, with an interval *over seeds*, and the null beside it under the same seeds.
#
# ## All rivals, at equal score
#
# The fronts are drawn with everything that was tuned, averaged over seeds. A line is a whole way: the fine-tune at
# its right end, scaled down step by step to the start. The broken line is that of nulls; thin ones are AdamW's
# single seeds.

# %%
marks = marks_of_parts(overview)
drawn = [fullest] if FAST else list(panels)[:3]
figure, axes = plt.subplots(1, len(drawn), figsize=(4.6 * len(drawn), 3.6), squeeze=False)
for ax, panel in zip(axes[0], drawn, strict=True):
    draw_front(ax, panels[panel], marks, "auc", 3.0)
    ax.set_title(f"{panel.task}, {panel.shots} a class")
plt.show()

# %%
rows = []
for panel, own in panels.items():
    plain = baseline_of(own)
    for series in own:
        if series is plain or not series.finished or not series.is_trained:
            continue
        summary = seed_effects(measure, series.runs, plain.runs, plain.runs).summary()
        if summary is None:
            continue
        low, high = (
            None if end is None or not np.isfinite(end) else np.exp(end)
            for end in (summary.low, summary.high)
        )
        rows.append(
            {
                "part": panel.part,
                "method": series.name,
                "seeds": summary.n,
                "lost, over scaling's": np.exp(summary.estimate) if np.isfinite(summary.estimate) else np.inf,
                "95 % from": low,
                "to": high,
                "a null": "yes" if series.is_null else "",
            }
        )
pd.DataFrame(rows).set_index(["part", "method"]).sort_values(["part", "lost, over scaling's"]).round(2)

# %% [markdown]
# The table ranks, and a ranking tempts: the best of ten is the best partly by luck. Two lines whose intervals
# overlap widely have not been told apart here, whatever their order. And look where the nulls stand: a method that
# is not clearly better than *its own null* owes its place to the spectrum, or to being a filter at all, and not to
# the graph.
#
# ## The same runs, another question
#
# "At the AUC that AdamW has, less .01" is one choice. Somebody may prefer what the filter does **as it is**, at its
# own score. Both were written down; where they disagree, a claim hangs on the choice, and that is worth knowing.

# %%
own_score = Measure("scaling_ratio", "auc")
rows = []
for panel, own in panels.items():
    plain = baseline_of(own)
    for series in of_product(own):
        pair = {}
        for name, kind in (("at AdamW's AUC - .01", measure), ("at its own AUC", own_score)):
            summary = seed_effects(kind, series.runs, plain.runs, plain.runs).summary()
            shown = "-" if summary is None else f"{np.exp(summary.estimate):.2f} ({summary.n} seeds)"
            pair[name] = shown
        rows.append({"part": panel.part, "method": series.name} | pair)
pd.DataFrame(rows).set_index(["part", "method"])

# %% [markdown]
# ## The verdicts
#
# Each claim has a bound. **Confirmed**: the whole 95 % interval lies on the claimed side, and it still does at .05
# after Holm's correction over *all* claims of the study. **Refuted**: the whole interval lies on the other side.
# **Undecided**: everything else, and every claim of which a cell is missing. The last column is honest about power:
# the smallest effect beyond the bound that four of five studies of this size would have found.

# %%
verdicts = judge(plan, found.records.values())
pd.DataFrame(
    {
        "claim": one.claim,
        "verdict": one.verdict,
        "estimate": one.estimate,
        "n": one.n,
        "p (Holm)": one.p,
        "cells missing": len(one.missing),
        "detectable": one.mde,
        "": one.id,
    }
    for one in verdicts
).set_index("").round(3)

# %%
words = {
    word: [one.id for one in verdicts if one.verdict == word]
    for word in ("confirmed", "refuted", "undecided")
}
for word, claims in words.items():
    print(f"{word:10} {len(claims)}: {', '.join(claims) or 'none'}")
waiting = [one.id for one in verdicts if one.missing]
print(f"waiting for cells: {', '.join(waiting) or 'none'}")

# %% [markdown]
# What stands behind the word: the first claim, comparison by comparison. It holds where all of them do, so that a
# comparison can be confirmed and its claim refuted.

# %%
pd.DataFrame(
    {
        "task": one.task,
        "method": one.method,
        "against": one.rival,
        "seeds": one.n,
        "estimate": one.estimate,
        "95 % from": one.low,
        "to": one.high,
        "verdict": one.verdict,
    }
    for one in verdicts[0].by_task
).set_index("task").round(2)

# %% [markdown]
# A refuted claim is a result. So is an undecided one with a small detectable effect: it says that there is nothing
# large to be found. An undecided one with cells missing says nothing at all, in either direction.
#
# ## Seven ways to be fooled that are still open
#
# 1. **The tasks.** A few text classifications on one encoder of 22 M parameters. Nothing here is about another.
# 2. **The measure.** Neighbours among held-out texts: other abilities may be lost, or kept, without it noticing.
# 3. **The texts.** What is preserved is of another source than what measures forgetting, and still it is news,
#    speeches and plots: English prose.
# 4. **The rivals.** Each has a budget, and somebody who loves one of them would have tuned it better.
# 5. **The interpolation.** "At equal score" lies on straight lines between recorded states.
# 6. **The seeds.** They change the split, the order and the head, and not the pretrained model.
# 7. **The readers.** You have now seen all panels. Whatever you test next on these records was picked by looking.
#
# ## Exercises
#
# **1.** How many seeds would have been enough? Take the standard deviation of the log ratios of the product, and find
# the n for which an interval of 95 % is as narrow as you need. *Hint: `effects.summary().sd`, and the half-width is
# about 2 sd / √n.*
#
# <details><summary>Solution</summary>
#
# ```python
# for panel, own in panels.items():
#     for series in of_product(own):
#         summary = ratios(panel, series)[1].summary()
#         if summary is not None and summary.n > 1:
#             needed = (2 * summary.sd / np.log(1.1)) ** 2
#             print(panel.part, series.name, f"sd {summary.sd:.2f}; for ±10 %: {needed:.0f} seeds")
# ```
#
# A ratio of ±10 % asks for many more seeds than a verdict "below 1" does. What you need hangs on the claim; that is
# why the claim comes first.
# </details>
#
# **2.** How often would a *pair* of seeds have shown the product ahead of its own null by luck or in truth? Count
# over all pairs of seeds of one part.
#
# <details><summary>Solution</summary>
#
# ```python
# own = {series.control or "product": ratios(fullest, series)[1].values for series in of_product(panels[fullest])}
# pairs = [(a, b) for a in own["product"] for b in own.get("permuted", {})]
# ahead = np.mean([own["product"][a] < own["permuted"][b] for a, b in pairs])
# print(f"{ahead:.0%} of {len(pairs)} pairs")
# ```
#
# Compare *unpaired* seeds, as here, with the same seed on both sides: pairing takes out what the split and the order
# do to both, and is the reason for running the same seeds everywhere.
# </details>
#
# **3.** Shuffle the labels of methods: give each seed's product and null records to each other at random, and judge
# again. How often is the claim "confirmed" now?
#
# <details><summary>Solution</summary>
#
# ```python
# rng = np.random.default_rng(0)
# graph, null = [ratios(fullest, one)[1].values for one in of_product(panels[fullest])[:2]]
# seeds = sorted(graph.keys() & null.keys())
# true = np.mean([graph[s] - null[s] for s in seeds])
# signs = rng.choice([-1, 1], size=(9999, len(seeds)))
# shuffled = (signs * [graph[s] - null[s] for s in seeds]).mean(axis=1)
# print(f"p = {(1 + (shuffled <= true).sum()) / 10000:.4f}")
# ```
#
# That is a permutation test of the paired difference. It makes no assumption on the shape of the scatter, and agrees
# with the t-test of the verdicts where there are enough seeds.
# </details>
