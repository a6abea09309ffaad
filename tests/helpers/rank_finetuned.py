"""`spectral-opt finetune` on ranks without accelerators, with weights that are sharded all the same.

accelerate shards on accelerators alone. Told here that each rank has one, it does so on processors, over gloo.
"""

import os
import sys
from pathlib import Path
from typing import Any

from accelerate import DistributedType, PartialState

from spectral_opt.cli import main
from spectral_opt.finetuning import Launch


def shard_on_processors() -> None:
    begin = PartialState.__init__

    def told(self: PartialState, *given: Any, **named: Any) -> None:
        begin(self, *given, **named)
        if self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type = DistributedType.MULTI_GPU

    PartialState.__init__ = told
    Launch.check = lambda self, options: None


if __name__ == "__main__":
    # For whoever is to end one of them.
    Path(os.environ["PIDS"], os.environ["RANK"]).write_text(str(os.getpid()))
    if "fsdp=true" in sys.argv:
        shard_on_processors()
    sys.exit(main(["finetune", *sys.argv[1:]]))
