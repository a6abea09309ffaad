"""The model card of a refined model: what was done to which fine-tune, with that one's own card beside it."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from paramgraph.checkpoints import ModelLike, locate, read_json
from paramgraph.digests import readable
from paramgraph.display import loading_line, made_with, model_card
from paramgraph.environment import hardware, versions
from paramgraph.nodes import unwrap
from paramgraph.whole_files import write_text
from spectral_opt.config import SpectralConfig
from spectral_opt.refinement._result import Form, RefinedState

CARD, OF_THE_TUNED = "README.md", "README.of_the_fine_tune.md"
TAG = "spectral-opt"


@dataclass(frozen=True, kw_only=True)
class RefinedCard:
    """What the card of a refined model says.

    `base` and `tuned` are names as a reader knows them, `maker` is what refined, `done` what it did with the change,
    `loading` how the result is loaded, `task` the hub's name of what it is for. All but the sections is one line each.
    """

    base: str
    tuned: str
    is_adapter: bool
    maker: str
    done: str
    loading: str
    command: str
    origin: Sequence[str] = ()
    measured: Sequence[str] = ("Nothing was measured on a task.",)
    remarks: Sequence[str] = ()
    task: str = ""
    library: str = ""
    versions: Mapping[str, str] | None = None
    hardware: Mapping[str, object] | None = None

    def write(self, folder: Path, tuned: Path | None, place: Path | None = None) -> None:
        """Write README.md into the folder of a refined model, and beside it the card in that of the fine-tune.

        A README.md that is there and is no card of this package stays, as README.earlier.md. `place` is where the
        files of the folder are going to lie, where it is another one.
        """
        place = place or folder
        old = place / CARD
        if old.is_file() and TAG not in (_head(old).get("tags") or ()):
            names = (f"README.earlier{number or ''}.md" for number in count())
            shutil.copyfile(old, folder / next(name for name in names if not (place / name).exists()))
        (folder / OF_THE_TUNED).unlink(missing_ok=True)
        before = None if tuned is None else tuned / CARD
        is_beside = before is not None and before.is_file()
        if before is not None and is_beside:
            shutil.copyfile(before, folder / OF_THE_TUNED)
        write_text(folder / CARD, self._written(_head(before) if before is not None else {}, is_beside))

    def _written(self, tuned: Mapping[str, Any], is_beside: bool) -> str:
        made = (
            f"This {'adapter' if self.is_adapter else 'model'} was made by `{self.maker}`, without training: "
            f"{self.tuned}, fine-tuned from {self.base}, {self.done}."
        )
        origin = [f"- Base: {self.base}", f"- Fine-tune: {self.tuned}", *self.origin]
        remarks = [("Remarks", [f"- {remark}" for remark in self.remarks])] if self.remarks else []
        return model_card(
            f"{Path(self.tuned).name}, refined",
            [made, *([f"The card of the fine-tune is beside, in `{OF_THE_TUNED}`."] if is_beside else [])],
            [
                ("From what", origin),
                ("What was measured", self.measured),
                *remarks,
                ("Load it", [self.loading]),
                made_with(self.command, self.versions or versions(), self.hardware or hardware()),
            ],
            base=self.base,
            licence=str(tuned.get("license_name") or tuned.get("license") or ""),
            library="peft" if self.is_adapter else self.library,
            task=self.task,
            tags=[TAG, "refined"],
        )


def card_of_state(
    state: RefinedState,
    folder: Path,
    names: tuple[str, str],
    configs: Sequence[SpectralConfig],
    responses: Sequence[str | Callable[..., Any]] | None,
    factor: float | None,
) -> RefinedCard:
    """Say what a refinement did that measured no task; `names` are those of the base and of the fine-tune.

    Of the state only what it says is read, not its tensors; the folder has all but the card.
    """
    base, tuned = names
    how = "filtered as is said below" if factor is None else f"scaled by {factor:g}"
    chosen: Sequence[str | Callable[..., Any] | None] = (
        [None] * len(configs) if responses is None else responses
    )
    filters = [_told_filter(config, one) for config, one in zip(configs, chosen, strict=True)]
    return RefinedCard(
        base=base,
        tuned=tuned,
        is_adapter=state.form == "adapter",
        maker="spectral_opt.refine",
        done=f"its change {how}; {state.norm_kept:.3f} of the norm of its change is left",
        loading=_loading(folder, state.form),
        command="spectral_opt.refine",
        origin=[f"- Filter: `{one}`" for one in filters] if factor is None else [],
        remarks=state.remarks,
        library="transformers" if (folder / "config.json").is_file() else "",
    )


def told_model(model: ModelLike, was_loaded: bool) -> str:
    """Name a model by its folder or its name on the hub, else by its class; a module `was_loaded` from its name."""
    where = locate(model)
    if not where.in_memory:
        return str(model)
    if where.kind != "module":
        return "weights in memory"
    bare = unwrap(model)
    config: Any = getattr(bare, "config", None)
    name = str(getattr(config, "name_or_path", "") or "") if was_loaded else ""
    return name or f"a {type(bare).__name__} in memory"


def _told_filter(config: SpectralConfig, response: str | Callable[..., Any] | None) -> str:
    """Write what of a config is not its default, with the response that took the place of its own."""
    chosen = {
        each.name: getattr(config, each.name)
        for each in fields(config)
        if getattr(config, each.name) != each.default
    }
    if response is not None:
        chosen["response"] = response
        chosen.pop("response_options", None)
    return f"SpectralConfig({', '.join(f'{name}={readable(value)}' for name, value in chosen.items())})"


def _loading(folder: Path, form: Form) -> str:
    if form == "adapter":
        return "`peft.PeftModel.from_pretrained(BASE, FOLDER)`, with the base that it was trained on."
    if (folder / "modules.json").is_file():
        return loading_line("", adapter=False, sentences=True)
    config = read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
    names = config.get("architectures") or ()
    if names and "auto_map" not in config:
        return f"`transformers.{names[0]}.from_pretrained(FOLDER)`, from this folder."
    return "As the fine-tune is loaded; the weights are in safetensors files, under its names."


def _head(card: Path) -> dict[str, Any]:
    """Read the head of a card; nothing of what has none that can be read."""
    from huggingface_hub import ModelCard

    try:
        found: dict[str, Any] = ModelCard.load(card, ignore_metadata_errors=True).data.to_dict()
    except (OSError, ValueError, TypeError, AttributeError, yaml.YAMLError):
        return {}
    return found
