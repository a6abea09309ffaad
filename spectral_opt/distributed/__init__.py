"""Distributed: DDP and FSDP2, where several ranks train one model.

Under DistributedDataParallel every rank holds all, and sharing graphs (`preparation`) and comparing them (`training`)
suffices. Under FSDP2 each parameter is a DTensor split by its first axis. `attach` first refuses layouts and requests
that cannot work, then binds each prepared table to the parts that lie here: of columns and whole matrices, which are
filtered where they lie, and of rows, blocks and heads, for which the ranks add up rank x width numbers, in buffers of
few rows.

- Refused before anything moves: `check_layout`, `check_sharded`, `check_split_filters`.
- Tables on this rank: `bind_on_ranks`; which parts it has, `shards_of` and `splits_nodes`.
- What moves between ranks, for `explain`: `rank_traffic`, `traffic_text`.
- Resume from torch.distributed.checkpoint: `read_checkpoint_state`.
- Inside: `NodeSplit`, `SplitOperator`, `SplitFilter`, exact products of split nodes.
"""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_names

if TYPE_CHECKING:
    from spectral_opt.distributed._checkpoint import read_checkpoint_state as read_checkpoint_state
    from spectral_opt.distributed._node_split import (
        NodeSplit as NodeSplit,
        SplitFilter as SplitFilter,
        SplitOperator as SplitOperator,
    )
    from spectral_opt.distributed._rank_traffic import (
        rank_traffic as rank_traffic,
        traffic_text as traffic_text,
    )
    from spectral_opt.distributed._shard_layout import (
        check_layout as check_layout,
        check_sharded as check_sharded,
        check_split_filters as check_split_filters,
        shards_of as shards_of,
        splits_nodes as splits_nodes,
    )
    from spectral_opt.distributed._sharded_table import bind_on_ranks as bind_on_ranks

if not TYPE_CHECKING:
    __getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
