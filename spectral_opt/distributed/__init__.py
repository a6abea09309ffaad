"""Distributed: DDP and FSDP2."""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_names

if TYPE_CHECKING:
    from spectral_opt.distributed._rank_traffic import (
        rank_traffic as rank_traffic,
        traffic_text as traffic_text,
    )
    from spectral_opt.distributed.rank_handle import (
        RankHandle as RankHandle,
        bind_on_ranks as bind_on_ranks,
        check_split_filters as check_split_filters,
    )
    from spectral_opt.distributed.rank_refresh import RankRefresher as RankRefresher
    from spectral_opt.distributed.shard_layout import (
        check_layout as check_layout,
        check_sharded as check_sharded,
        shard_of as shard_of,
        splits_nodes as splits_nodes,
    )

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
