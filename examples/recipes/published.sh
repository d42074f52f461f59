#!/usr/bin/env bash
# The model level as published (arXiv 2507.10540): Llama-3.1-8B-Instruct with LoRA on the answers of the top 5 and 10 by
# performance, judge and both, and on gold labels; each trained, asked the test queries and added to the log.
#   bash examples/recipes/published.sh BENCH OUT [POOL.yaml]        # several GPUs; SMALL=1 takes the small pool only
set -euo pipefail
bench=$1 out=$2 pool=${3:-}
recipe=$(dirname "$0")/sft_llama3.1_8b_lora.yaml
export CONFIG=${CONFIG:-$(dirname "$0")/../accelerate/multi_gpu.yaml} BACKEND=${BACKEND:-vllm} BASE=llama-3.1-8b-instruct
fusion-hf build "$bench" --out "$out/bench" # the log that the students join; they never teach one another
for select in baseline perf judge hybrid; do
    for k in 5 10; do
        if [ "$select-$k" = baseline-10 ]; then continue; fi # a query has one gold label
        SELECT=$select TOP_K=$k POOL=$pool INTO=$out/bench bash "$(dirname "$0")/../distill.sh" \
            "$bench" meta-llama/Llama-3.1-8B-Instruct "$out/$select-top$k" "$recipe"
    done
done
