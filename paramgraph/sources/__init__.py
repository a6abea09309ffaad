"""Sources: what a graph of parameters is built from, as features of its nodes.

A source runs batches through a model, or reads its weights, and gives each table a matrix (nodes, features) in the
table's order. None of them changes parameters, `.grad`, buffers, hooks, `requires_grad`, train or eval mode, or any
global random state; batches run in eval mode, without dropout. Pieces arrive batch by batch, one matrix at a time, and
an accumulator keeps what is needed of them, so memory does not grow with the batches. An expert of a stack is a layer,
on the tokens that are routed to it.

- Features of one table: `weights`, `gradients`, `activations`, `output_gradients`, `attention_maps`, `updates`.
- Of many tables in one pass: `collect`, `collect_updates`, `collect_batch_gradients` (batch by batch), and
  `collect_in_turn`, whose `PendingFeatures` are made one table at a time.
- What a source is: `SOURCES` holds one `Source` each, a new one is one more value; `as_source` finds it by name,
  `source_refusal` says which schemes it has no features for. `SourceLike`, `Batches`, `Loss` type the arguments;
  `ChosenBatches` are some of many, which errors name by their numbers there.
- What is kept of pieces: `Accumulator`, `SharedAccumulator` (over processes), `AllColumns`, `MeanFeatures`,
  `StreamingGram`, `FeatureBlocks`.
- A table without features does not stop the others: `OnFailure` is told of it, and `Failures` keeps the account.
- Passes that leave no trace: `passes`, `run_batch`, `batch_loss`, `evaluation`, `RandomStates`, `eager_attention`.
- What a gradient at outputs is of: an `Objective`, one number per text; "representation" is of the vector per text that
  `representation` gives, and `predictions` are the largest logits; `draws` are its numbers. `usual_objective` of a
  model, and its `body_of`, which has no head. The texts of a batch: `texts_of`, `take_texts`.
- Inside: `activation_passes`, `gradient_passes`, `output_gradient_passes`, `attention_passes`, which an own `Source`
  may take, and which tokens they see: `real_tokens`, `stream_of`, `stream_of_signal`; inputs and output gradients call
  by call: `layer_gradient_passes` of `LayerGradients`, `output_readings`. In the memory of one block: `blocks_of` a
  model are `checkpointed_blocks` for a while.
"""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_names

if TYPE_CHECKING:
    from paramgraph.sources._activation_passes import activation_passes as activation_passes
    from paramgraph.sources._attention_passes import (
        attention_passes as attention_passes,
        eager_attention as eager_attention,
    )
    from paramgraph.sources._checkpointed_blocks import (
        blocks_of as blocks_of,
        checkpointed_blocks as checkpointed_blocks,
    )
    from paramgraph.sources._failures import Failures as Failures, OnFailure as OnFailure
    from paramgraph.sources._gradient_passes import gradient_passes as gradient_passes
    from paramgraph.sources._objectives import (
        Objective as Objective,
        body_of as body_of,
        draws as draws,
        predictions as predictions,
        representation as representation,
        take_texts as take_texts,
        texts_of as texts_of,
        usual_objective as usual_objective,
    )
    from paramgraph.sources._output_gradient_passes import (
        LayerGradients as LayerGradients,
        layer_gradient_passes as layer_gradient_passes,
        output_gradient_passes as output_gradient_passes,
        output_readings as output_readings,
    )
    from paramgraph.sources._passes import (
        Batches as Batches,
        ChosenBatches as ChosenBatches,
        Loss as Loss,
        RandomStates as RandomStates,
        batch_loss as batch_loss,
        evaluation as evaluation,
        passes as passes,
        run_batch as run_batch,
    )
    from paramgraph.sources._token_streams import (
        real_tokens as real_tokens,
        stream_of as stream_of,
        stream_of_signal as stream_of_signal,
    )
    from paramgraph.sources.accumulators import (
        Accumulator as Accumulator,
        AllColumns as AllColumns,
        FeatureBlocks as FeatureBlocks,
        MeanFeatures as MeanFeatures,
        SharedAccumulator as SharedAccumulator,
        StreamingGram as StreamingGram,
    )
    from paramgraph.sources.collection import (
        collect as collect,
        collect_batch_gradients as collect_batch_gradients,
        collect_in_turn as collect_in_turn,
    )
    from paramgraph.sources.parameter_updates import collect_updates as collect_updates, updates as updates
    from paramgraph.sources.source import (
        SOURCES as SOURCES,
        PendingFeatures as PendingFeatures,
        Source as Source,
        SourceLike as SourceLike,
        as_source as as_source,
        source_refusal as source_refusal,
    )
    from paramgraph.sources.table_features import (
        activations as activations,
        attention_maps as attention_maps,
        gradients as gradients,
        output_gradients as output_gradients,
        weights as weights,
    )

if not TYPE_CHECKING:
    __getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
