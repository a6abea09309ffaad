"""Sources: what a graph of parameters is built from, as features of its nodes."""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_names

if TYPE_CHECKING:
    from paramgraph.sources._attention_passes import attention_passes as attention_passes
    from paramgraph.sources._eager_attention import eager_attention as eager_attention
    from paramgraph.sources._gradient_passes import gradient_passes as gradient_passes
    from paramgraph.sources._passes import batch_loss as batch_loss
    from paramgraph.sources.accumulators import (
        Accumulator as Accumulator,
        AllColumns as AllColumns,
        MeanFeatures as MeanFeatures,
        StreamingGram as StreamingGram,
    )
    from paramgraph.sources.activation_reading import activation_passes as activation_passes
    from paramgraph.sources.collection import (
        SOURCES as SOURCES,
        collect as collect,
        collect_batch_gradients as collect_batch_gradients,
        source_refusal as source_refusal,
    )
    from paramgraph.sources.measurement import (
        RandomStates as RandomStates,
        evaluation as evaluation,
        passes as passes,
    )
    from paramgraph.sources.parameter_updates import collect_updates as collect_updates, updates as updates
    from paramgraph.sources.source_support import check_scheme as check_scheme
    from paramgraph.sources.table_features import (
        activations as activations,
        attention_maps as attention_maps,
        gradients as gradients,
        weights as weights,
    )

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
