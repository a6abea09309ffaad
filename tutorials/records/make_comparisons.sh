#!/usr/bin/env bash
# make_comparisons.sh [NAME ...]: make the records in comparisons/, all of them or those named. Run it from the root of
# the repository, after `make install`. An hour on two cores; what was interrupted goes on where it was.
set -euo pipefail
export OMP_WAIT_POLICY=passive OPENBLAS_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false
records=tutorials/records/comparisons
wanted=("$@")

compare() { # NAME ARGUMENTS...
  local name=$1
  shift
  if [ ${#wanted[@]} -gt 0 ] && [[ " ${wanted[*]} " != *" $name "* ]]; then return; fi
  [ -f "$records/$name.json" ] && return
  echo "$name" >&2
  .venv/bin/paramgraph compare "$@" --out "build/comparisons/$name"
  cp "build/comparisons/$name/comparison.json" "$records/$name.json"
}

# A language model, in its first and last layer.
compare smollm2_sotu_start SmolLM2-135M-Instruct --data sotu --targets '.*layers\.(0|29)\..*' \
  --builders cosine_knn gram ring --sources weights activations batch_gradients --batches 16 --batch-size 8 --max-length 64

# Everything that has a meaning, in one layer of six: all builders, sources and schemes; the rest is listed as refused.
every=(--builders cosine_knn gaussian_knn correlation correlation:estimator=ledoit_wolf correlation:estimator=partial
  gram attention_head layer_adjacency ring complete
  --sources weights gradients batch_gradients activations attention_maps updates --tune-steps 40 --signal gradients
  --permutations 999 --batches 24)
for scheme in rows columns blocks; do
  compare "minilm_every_$scheme" embedded --data rotten_tomatoes --scheme "$scheme" --targets '.*layer\.2\..*' "${every[@]}"
done
compare minilm_every_heads embedded --data rotten_tomatoes --scheme heads "${every[@]}"
few=(--builders cosine_knn:k=2 gaussian_knn:k=2 correlation:k=2 correlation:k=2,estimator=ledoit_wolf
  correlation:k=2,estimator=partial gram attention_head layer_adjacency ring complete
  --sources weights gradients batch_gradients activations attention_maps updates --tune-steps 40 --signal gradients
  --permutations 999 --batches 24)
compare minilm_every_layers embedded --data rotten_tomatoes --scheme layers "${few[@]}"

# Stability: three draws of the batches, two layers.
compare minilm_seeds embedded --data rotten_tomatoes --targets '.*layer\.[14]\..*' --seeds 0 1 2 \
  --builders cosine_knn gram --sources activations batch_gradients

# Three tasks, each at the start, after fine-tuning, and by what fine-tuning has added. Rows of the
# matrices of three of six layers; 24 batches, as the signal-to-noise ratio of six says nothing (lift from -3 to 5).
some=(--builders cosine_knn gram ring --sources weights activations batch_gradients --batches 24
  --targets '.*layer\.[025]\..*')
for task in rotten_tomatoes bbc sotu_eras; do
  compare "minilm_${task}_start" embedded --data "$task" "${some[@]}"
  compare "minilm_${task}_tuned" embedded --data "$task" "${some[@]}" --tune-steps 40 --at tuned
  compare "minilm_${task}_updates" embedded --data "$task" "${some[@]}" --tune-steps 40 --signal updates
done
